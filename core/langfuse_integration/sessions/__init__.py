"""Which session is active here, whose it is, and what the workers of a service share about it."""
