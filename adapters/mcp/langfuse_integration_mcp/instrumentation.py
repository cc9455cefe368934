"""instrument(): traces every session of this process, also those that libraries open."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Collection, Iterator
from typing import Any

from langfuse_integration.internals import forks
from langfuse_integration.internals.faults import shielded
from langfuse_integration.recording import tracing

from . import serving
from .connection import Policy
from .wrapping import connection_of, unwrap, wrap

_HOOKING = shielded("tracing an MCP session that was made")
_lock = forks.Lock()
_policy = Policy()
_hooked: dict[type[Any], dict[str, Any]] = {}
_ours: dict[int, weakref.ref[Any]] = {}
"""The sessions that were traced by the hook alone, for `uninstrument`; they leave when they end."""


def instrument(*, send_identity: bool = False, servers: Collection[str] = ()) -> None:
    """Trace every MCP client session of this process that is made from now on.

    Sessions of `mcp` itself, 1.x and 2.x, of its subclasses, and of what is built on them: langchain-mcp-adapters,
    `langchain.mcp`, llama-index-tools-mcp, fastmcp. Called again it changes the arguments for later sessions.

    Args:
        send_identity: send the session's and the user's id to every server, as baggage.
        servers: the servers that get them even so, by the names that they give themselves in a handshake. A server may
            claim any name: list names here only when you trust all the servers that you connect to.
    """
    global _policy
    import mcp

    if isinstance(servers, str):
        raise TypeError("servers must be a collection of server names, not a str: put it in a list.")
    with _lock:
        _policy = Policy(send_identity, frozenset(servers))
        for root in (mcp.ClientSession, getattr(mcp, "Client", None)):  # a Client is of mcp 2.x
            if root is not None:
                for kind in (root, *_subclasses(root)):
                    _hook(kind)
                _hook_later(root)
    tracing.hooks.ready()


def uninstrument() -> None:
    """Undo `instrument`: sessions that it has traced are not traced any more; those of `wrap_session` still are."""
    with _lock:
        while _hooked:
            kind, replaced = _hooked.popitem()
            for name, original in replaced.items():
                if original is None:
                    delattr(kind, name)
                else:
                    setattr(kind, name, original)
        for session in [session for reference in _ours.values() if (session := reference()) is not None]:
            unwrap(session)
        _ours.clear()
        serving.release()


def instrumented() -> bool:
    """Return whether `instrument()` is in force in this process; sessions of `wrap_session` do not count."""
    return bool(_hooked)


def keep(session: Any) -> None:
    """Note that the application itself traces *session*."""
    _ours.pop(id(session), None)


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _hook(kind: type[Any]) -> None:
    """Trace instances of *kind* when its own `__init__` is done: a subclass may never call its parent's."""
    original = vars(kind).get("__init__")
    if original is None or "__init__" in _hooked.get(kind, {}):
        return

    @functools.wraps(original)
    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        original(self, *positional, **named)
        with _HOOKING:
            _made(self)

    _hooked.setdefault(kind, {})["__init__"] = original
    kind.__init__ = __init__


def _made(session: Any) -> None:
    if connection_of(session) is None:
        wrap(session, None, _policy, overwrite=False)
        key = id(session)
        _ours[key] = weakref.ref(session, lambda _: _ours.pop(key, None))


def _hook_later(kind: type[Any]) -> None:
    """Hook the subclasses that are still to be defined."""
    if "__init_subclass__" in _hooked.get(kind, {}):
        return
    before = vars(kind).get("__init_subclass__")

    def __init_subclass__(cls: type[Any], /, **options: Any) -> None:
        if before is not None:
            before.__func__(cls, **options)
        else:
            super(kind, cls).__init_subclass__(**options)
        with _HOOKING:
            _hook(cls)

    _hooked.setdefault(kind, {})["__init_subclass__"] = before
    kind.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore[assignment]
