"""Tests of the hosts, and the browser tabs, web servers and Redis servers that they need."""
