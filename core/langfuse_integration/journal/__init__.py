"""The journal: a SQLite file that holds observations until they are delivered."""
