"""Forgetting: removes what workers remember for each other of one user or one session from Redis."""

from __future__ import annotations

import json
from typing import Any

from ...settings import settings

NAMESPACES = "langfuse-integration:*"
TIMEOUT_S = 5.0


def forget_shared(user_id: str | None, session_id: str | None) -> int | None:
    """Remove all entries that name a user or a session; return how many, or None where the store is no Redis.

    Raises:
        Exception: what redis-py raises when the server does not answer.
    """
    address = settings().store
    if not address.startswith(("redis://", "rediss://", "unix://")):
        return None
    import redis

    from .redis import STAMP

    names = {name for name in (user_id, session_id) if name is not None}
    removed = 0
    options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    with redis.Redis.from_url(address, **options) as client:
        for key in client.scan_iter(match=NAMESPACES, count=1000):
            value: Any = client.get(key)
            if value is not None and _names(value[STAMP:], names):
                removed += int(client.delete(key))
    return removed


def _names(value: bytes, names: set[str]) -> bool:
    """Return whether any text in a stored value is one of *names*."""
    try:
        return _holds(json.loads(value), names)
    except ValueError:
        return False


def _holds(value: Any, names: set[str]) -> bool:
    if isinstance(value, str):
        return value in names
    if isinstance(value, dict):
        return any(_holds(item, names) for item in value.values())
    return isinstance(value, list) and any(_holds(item, names) for item in value)
