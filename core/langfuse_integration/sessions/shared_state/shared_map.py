"""What the workers of a service remember for each other: conversations, and traces that go on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ...errors import MissingExtra
from ...internals import forks
from ...internals.faults import shielded, warn_once
from ...settings import Settings, settings
from ..session import Session
from .key_value import KeyValueStore, MemoryStore, done

T = TypeVar("T")

WAIT_S = 0.25
"""What an answer is waited for; after that, what this process knows itself is the answer."""

_REMEMBERING = shielded("remembering something for other workers")
_RECALLING = shielded("recalling what another worker remembered")
_lock = forks.Lock()
_store: KeyValueStore | None = None
_made_for: Settings | None = None


def active_key_value() -> KeyValueStore:
    """Return the store that the settings ask for: in memory, or in Redis."""
    global _store, _made_for
    wanted = settings()
    found = _store
    if found is not None and wanted is _made_for:
        return found
    with _lock:
        if _store is None or wanted is not _made_for:
            before = _store
            _store, _made_for = _made(wanted), wanted
            if before is not None:
                before.close(0.5)
        return _store


def is_shared() -> bool:
    """Return whether other workers see what is remembered here."""
    return not isinstance(active_key_value(), MemoryStore)


def _made(wanted: Settings) -> KeyValueStore:
    if wanted.store in ("", "memory"):
        return MemoryStore()
    try:
        from .redis import RedisStore

        namespace = f"langfuse-integration:{wanted.public_key or 'local'}:{wanted.environment or 'default'}:"
        return RedisStore(wanted.store, namespace)
    except ImportError:
        problem: object = MissingExtra("redis", "redis")
    except ValueError as error:
        problem = error
    warn_once(
        "store setting", "LANGFUSE_INTEGRATION_STORE cannot be used, memory serves this process alone: %s", problem
    )
    return MemoryStore()


def stored_key(kind: str, key: str) -> str:
    """Return the name under which a store has *key*: a digest, since a cookie may be a secret."""
    return f"{kind}:{hashlib.sha256(key.encode()).hexdigest()[:40]}"


class SharedMap(Generic[T]):
    """Values of one kind, by keys of the application.

    Args:
        kind: what they are; part of their keys.
        write, read: to JSON's values and back.
    """

    def __init__(self, kind: str, write: Callable[[T], Any], read: Callable[[Any], T]) -> None:
        self._kind = kind
        self._write = write
        self._read = read

    def remember(self, key: str, value: T) -> Future[None]:
        """Keep *value* for every worker. Never waits; what is returned is done when the others can see it."""
        with _REMEMBERING:
            return active_key_value().put(
                stored_key(self._kind, key), json.dumps(self._write(value), default=str).encode()
            )
        return done(None)

    def recall(self, *keys: str, timeout_s: float = WAIT_S) -> T | None:
        """Return what was remembered last under the first of *keys* that has a value, or None.

        Args:
            keys: which are asked for at once.
            timeout_s: for so many seconds, all keys together, other workers' word is waited for.
        """
        with _RECALLING:
            store = active_key_value()
            names = [stored_key(self._kind, key) for key in keys]
            until = time.monotonic() + timeout_s
            for name, asked in [(name, store.get(name)) for name in names]:
                try:
                    found = asked.result(max(until - time.monotonic(), 0.0))
                except Late:
                    found = store.look(name)
                if found is not None:
                    return self._found(found)
        return None

    async def recall_soon(self, key: str, timeout_s: float = WAIT_S) -> T | None:
        """Return the same without keeping an event loop waiting."""
        with _RECALLING:
            name = stored_key(self._kind, key)
            asked = active_key_value().get(name)
            if asked.done():
                return self._found(asked.result())
            try:
                found = await asyncio.wait_for(asyncio.wrap_future(asked), timeout_s)
            except TimeoutError:
                found = active_key_value().look(name)
            return self._found(found)
        return None

    def _found(self, value: bytes | None) -> T | None:
        return None if value is None else self._read(json.loads(value))


@dataclass(frozen=True, slots=True)
class SharedTrace:
    """A trace that goes on in a later run: as a parent, it gives its trace and no span.

    Attributes:
        trace: its id.
        started_ns: when its last root started, ns since 1970.
        session: whose it is, or None.
        notes: whatever else the adapter needs for going on, as JSON's values.
    """

    trace: int
    started_ns: int
    session: Session | None = None
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    span: int = 0
    origin: Session | None = None
    exported: bool = False
    companion: int = 0


def _session_out(session: Session | None) -> Any:
    if session is None:
        return None
    values = session.to_values()
    first = [values.pop("session_id", None), values.pop("user_id", None), values.pop("tags", [])]
    return [*first, values.pop("metadata", {}), values]  # releases before 0.2 read the first four


def _session_in(value: Any) -> Session | None:
    if value is None:
        return None
    further = value[4] if len(value) > 4 else {}
    first = dict(zip(("session_id", "user_id", "tags", "metadata"), value, strict=False))
    return Session.from_values({**further, **first})


def _trace_out(trace: SharedTrace) -> Any:
    return [f"{trace.trace:032x}", trace.started_ns, _session_out(trace.session), dict(trace.notes)]


def _trace_in(value: Any) -> SharedTrace:
    return SharedTrace(int(value[0], 16), value[1], _session_in(value[2]), value[3])


conversations: SharedMap[Session | None] = SharedMap("conversation", _session_out, _session_in)
"""Whose a conversation is, by its key: a thread's id, a cookie. None where it was cleared."""

traces: SharedMap[SharedTrace] = SharedMap("trace", _trace_out, _trace_in)
"""Where a later run goes on, by the key of what was interrupted."""
