"""The outcome of a request: a response, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

UNTRUSTED = "its certificate is not trusted"
"""How the reason begins when the client does not know the authority of a certificate, or the certificate is wrong."""


class HttpResponse(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unreachable(Exception):
    """The server sent no response; the message gives the reason for the log."""
