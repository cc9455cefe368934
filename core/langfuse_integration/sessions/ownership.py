"""The user of each session id: an id that two users use mixes their traces, which is said once, with both places."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..internals.bounded import BoundedDict
from ..internals.faults import shielded, warn_once
from .session import Session

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .shared_state import KeyValueStore

ANONYMOUS = "anonymous"
"""User ids of anonymous users, who own no session."""
LIMIT = 10_000
"""Sessions whose owner this process knows itself; the oldest go first."""

_CLAIMING = shielded("noting whose a session is")


class Owner(NamedTuple):
    """A user, and the place in the code that set a session of theirs."""

    user: str
    place: str


_owners: BoundedDict[str, Owner] = BoundedDict(LIMIT)


def claim(session: Session, *, handed_over: bool = False) -> None:
    """Note that *session* is its user's, and warn when it is known as another user's. Never waits.

    Args:
        handed_over: the application gives the session to another user on purpose, as after a log-in.
    """
    session_id, user = session.session_id, session.user_id
    if session_id is None or user is None or user == ANONYMOUS:
        return
    owner = _owners.get(session_id)
    if owner is not None and owner.user == user:
        return
    with _CLAIMING:
        ours = Owner(user, _place())
        if owner is not None and not handed_over:
            _warn(session_id, owner, ours)
            return
        _owners[session_id] = ours
        _tell_others(session_id, ours, handed_over)


def forget() -> None:
    """Forget all owners; for tests."""
    _owners.clear()


def _tell_others(session_id: str, ours: Owner, handed_over: bool) -> None:
    store = _shared()
    if store is None:
        return
    import json

    from .shared_state.shared_map import stored_key

    key, value = stored_key("owner", session_id), json.dumps(ours).encode()
    if handed_over:
        store.put(key, value)
        return

    def compare(there: Future[bytes]) -> None:
        with _CLAIMING:
            owner = Owner(*json.loads(there.result()))
            if owner.user != ours.user:
                _warn(session_id, owner, ours)

    store.claim(key, value).add_done_callback(compare)


def _shared() -> KeyValueStore | None:
    """Return the store of all workers, or None in memory; where nothing was configured, nothing is loaded for it."""
    configured = "langfuse_integration.settings" in sys.modules
    if not configured and os.environ.get("LANGFUSE_INTEGRATION_STORE", "memory") in ("", "memory"):
        return None
    from .shared_state import active_key_value
    from .shared_state.key_value import MemoryStore

    found = active_key_value()
    return None if isinstance(found, MemoryStore) else found


def _place() -> str:
    import socket

    from ..internals.callsite import callsite

    return f"{callsite() or 'an unknown line'} in process {os.getpid()} on {socket.gethostname()}"


def _warn(session_id: str, one: Owner, other: Owner) -> None:
    warn_once(
        f"owner {session_id}",
        "session %r is used by user %r (%s) and by user %r (%s): their traces are mixed in Langfuse; give each "
        "user's session an id of its own",
        session_id,
        *one,
        *other,
    )
