"""Where a request's session comes from: what the middleware of ASGI and of WSGI have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypedDict

from ..internals.faults import shielded, warn_once
from ..sessions.cells import Cell
from ..sessions.session import Session, valid

if TYPE_CHECKING:
    from collections.abc import Callable

CELL = "langfuse_integration.cell"
"""Where a request (ASGI's scope, WSGI's environ) keeps its cell."""
FINDING = shielded("finding out a request's session")
REMEMBERING = shielded("remembering a conversation's session")


class SourceOptions(TypedDict, total=False):
    """Which sources a middleware asks, in this order; one that is not declared is never looked at.

    A stranger can write any header, cookie or baggage. `set_session` inside of the request takes precedence over all.

    Attributes:
        session: called with the request: the session's id, or None.
        header: the name of a header that holds the session's id.
        cookie: the name of a cookie that holds the session's id.
        baggage: whether the callers are services of your own: then the W3C headers join trace and session.
        conversation: the name of a cookie that a browser gets when its session is first set, or what is called with the
            request: the key of a conversation, such as a log-in's id, or None. What `set_session` said in an earlier
            request of it holds again, where no other source names a session, and in every worker that shares the store
            (see `langfuse_integration.sessions.shared_state`).
        user: called with the request: the user's id, or None.
        issue: a prefix: who brings no session gets a new id, `prefix-` and 32 hex digits: a web socket for its life,
            and a browser by *cookie*, if that is declared.
    """

    session: Callable[[Any], Any] | None
    header: str | None
    cookie: str | None
    baggage: bool
    conversation: Callable[[Any], Any] | str | None
    user: Callable[[Any], Any] | None
    issue: str | None


class Sources:
    """The options of a middleware, with every name there is.

    Raises:
        TypeError: an unknown name.
    """

    def __init__(self, options: SourceOptions) -> None:
        unknown = options.keys() - SourceOptions.__annotations__.keys()
        if unknown:
            known = ", ".join(SourceOptions.__annotations__)
            raise TypeError(f"SessionMiddleware takes {known}, not {', '.join(sorted(unknown))}")
        self.session = options.get("session")
        self.header = options.get("header")
        self.cookie = options.get("cookie")
        self.baggage = options.get("baggage", False)
        self.conversation = options.get("conversation")
        self.user = options.get("user")
        self.issue = options.get("issue")


def usable(name: str, value: str | None) -> str | None:
    """Return an id as Langfuse groups by it, or None: clients send anything."""
    if not value:
        return None
    try:
        return valid(name, value)
    except (TypeError, ValueError) as error:
        warn_once(f"request {name}", "a request's id is left out: %s", error)
        return None


def fill(cell: Cell, session_id: str | None, user_id: str | None) -> None:
    """Put the ids of a request into *cell*, over what another such middleware or the conversation put there."""
    before = cell.session
    if before is not None and session_id in (None, before.session_id):
        if user_id not in (None, before.user_id):
            cell.session = before.with_user(user_id)
        return
    if before is not None and before.session_id is None:
        user_id = user_id or before.user_id
    if session_id or user_id:
        cell.session = Session(session_id, user_id)
        cell.is_set = True


def cookie_in(headers: Iterable[str], name: str) -> str | None:
    """Return the value of a cookie by the request's Cookie headers, or None."""
    for header in headers:
        for pair in header.split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value.strip('"')
    return None


def set_cookie(pair: str, *, secure: bool) -> str:
    """Return the header's value that sets a cookie: for this site only, and out of its scripts' reach."""
    return f"{pair}; Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
