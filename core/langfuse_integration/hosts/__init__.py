"""Hosts: environments that know which user's work is running. Each gives every visit a session cell."""
