"""Ports for servers that take a number: below the range that the system gives to connections and to port 0."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, COUNT = 12_000, 20_000
_numbers = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    The system gives it to nobody before the server listens; other test processes begin elsewhere.
    """
    for number in itertools.islice(_numbers, COUNT):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", FIRST + number % COUNT))
            except OSError:
                continue
            return FIRST + number % COUNT
    raise RuntimeError("every port is taken")
