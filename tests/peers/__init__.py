"""Real peers for tests: what our code talks to in production, answering on local sockets as a test tells them to."""
