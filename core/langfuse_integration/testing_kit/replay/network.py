"""No connection leaves the process during a replay: what is not recorded must not be asked."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

_FAMILIES = {socket.AF_INET, socket.AF_INET6}
_UNIX = getattr(socket, "AF_UNIX", None)
"""Sockets of the machine: databases, Docker. Logs go by datagrams, pairs within a process are never connected."""


@contextmanager
def blocked(refuse: Callable[[str], BaseException | None]) -> Generator[None]:
    """Let connections and name look-ups raise within the block.

    Args:
        refuse: called with the address; returns the exception to raise, or None to let the connection through.
    """
    patched = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}
    resolve = socket.getaddrinfo

    def checked(name: str) -> Callable[..., Any]:
        original = patched[name]

        def connect(self: socket.socket, *arguments: Any) -> Any:
            if self.family in _FAMILIES or (self.family == _UNIX and self.type != socket.SOCK_DGRAM):
                error = refuse(_shown(arguments[-1]))
                if error is not None:
                    self.close()  # whoever made it expects an OSError, and would leave it open
                    raise error
            return original(self, *arguments)

        return connect

    def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        error = refuse(_shown((host, port))) if not _is_number(host) else None
        if error is not None:
            raise error
        return resolve(host, port, *arguments, **options)

    for name in patched:
        setattr(socket.socket, name, checked(name))
    socket.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        socket.getaddrinfo = resolve
        for name in patched:
            delattr(socket.socket, name) if name not in _OWN else setattr(socket.socket, name, patched[name])


_OWN = frozenset(vars(socket.socket))
"""Methods that Python's socket class defines itself; the others are inherited from the one in C."""


def _is_number(host: Any) -> bool:
    """Return whether *host* needs no look-up: an address, or none at all."""
    if not host:
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    for family in _FAMILIES:
        try:
            socket.inet_pton(family, text.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _shown(address: Any) -> str:
    if isinstance(address, bytes):
        return os.fsdecode(address)
    return ":".join(str(part) for part in address[:2]) if isinstance(address, tuple) else str(address)
