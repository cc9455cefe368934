"""Environments that know whose work is running: each gives every visit a cell of its own."""
