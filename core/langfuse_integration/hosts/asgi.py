"""An ASGI application (Starlette, FastAPI, any other): every request and web socket has its own session.

    app.add_middleware(SessionMiddleware)                                       # endpoints call set_session
    app.add_middleware(SessionMiddleware, cookie="chat", issue="chat")          # or each browser has a session
    app.add_middleware(SessionMiddleware, header="x-session-id", user=user_of)  # or a gateway says which
    app.add_middleware(SessionMiddleware, conversation="login")                 # or what was set before holds again

What an endpoint or dependency sets, sync or async, holds for all of its request: streaming bodies, server-sent events
and background tasks too. A web socket keeps its session for life.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from ..internals.faults import shielded, warn_once
from ..recording import tracing
from ..sessions.session import Session, valid
from ..sessions.store import Cell

if TYPE_CHECKING:
    from ..propagation import Extracted

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Finder = Callable[[Scope], "str | Awaitable[str | None] | None"]

WAIT_S = 0.25
"""What the start of an answer waits for other workers to know the session that was set; seconds, at most."""

_CELL = "langfuse_integration.cell"
_FINDING = shielded("finding out a request's session")
_REMEMBERING = shielded("remembering a conversation's session")


class SessionMiddleware:
    """Gives every request a cell of its own, and puts the session into it that the declared sources name.

    Sources are asked in the order of the arguments. One that is not declared is never looked at, since a stranger can
    write any header, cookie or baggage. What `set_session` says inside of the request goes before all of them.

    Args:
        app: the application inside.
        session: called with the scope, or awaited: the session's id, or None.
        header: the name of a header that holds the session's id.
        cookie: the name of a cookie that holds the session's id.
        baggage: whether the callers are services of your own: then the W3C headers join trace and session.
        conversation: the name of a cookie that a browser gets when its session is first set, or what is called with the
            scope, or awaited: the key of a conversation, such as a log-in's id, or None. What `set_session` said in an
            earlier request of it holds again, where no other source names a session, and in every worker that shares
            the store (see `langfuse_integration.sessions.shared_state`).
        user: called with the scope, or awaited: the user's id, or None. An authentication middleware has to be outside
            of this one for `scope["user"]` to be there.
        issue: a prefix: who brings no session gets a new id, `prefix-` and 32 hex digits: a web socket for its life,
            and a browser by *cookie*, if that is declared.
    """

    def __init__(
        self,
        app: Application,
        *,
        session: Finder | None = None,
        header: str | None = None,
        cookie: str | None = None,
        baggage: bool = False,
        conversation: Finder | str | None = None,
        user: Finder | None = None,
        issue: str | None = None,
    ) -> None:
        self._app = app
        self._session = session
        self._header = header.lower().encode("latin-1") if header else None
        self._cookie = cookie
        self._baggage = baggage
        self._conversation = conversation
        self._user = user
        self._issue = issue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application inside with the request's cell in its context."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        cell: Cell | None = scope.get(_CELL)
        if cell is None:  # else there is another such middleware outside of this one
            cell = scope[_CELL] = Cell.hosted()
        caller = self._caller(scope)
        told = (caller.session if caller is not None else None) or Session(None)
        with _FINDING:
            session_id = _usable("session_id", await self._session_id(scope)) or told.session_id
            if self._conversation is not None:
                conversation = _Conversation(self._conversation, scope)
                await conversation.resume(cell)
                send = _with_cookie(send, conversation.cookie, scope)
            if session_id is None and self._issues(scope, cell):
                session_id = f"{self._issue}-{uuid.uuid4().hex}"
                if self._cookie is not None:
                    send = _with_cookie(send, _just(f"{self._cookie}={session_id}"), scope)
            user_id = _usable("user_id", await _found(self._user, scope)) or told.user_id
            _fill(cell, session_id, user_id)
        with tracing.store.visiting(cell):
            if caller is not None:
                caller.join()
            try:
                await self._app(scope, receive, send)
            finally:
                if caller is not None:
                    caller.leave()

    def _caller(self, scope: Scope) -> Extracted | None:
        if not self._baggage:
            return None
        from ..propagation import extract

        return extract(scope["headers"])

    async def _session_id(self, scope: Scope) -> str | None:
        found = await _found(self._session, scope)
        if not found and self._header is not None:
            found = next((_text(value) for name, value in scope["headers"] if name == self._header), None)
        if not found and self._cookie is not None:
            found = _cookie(scope["headers"], self._cookie)
        return found

    def _issues(self, scope: Scope, cell: Cell) -> bool:
        return bool(self._issue) and not cell.is_set and (scope["type"] == "websocket" or self._cookie is not None)


async def _found(finder: Finder | None, scope: Scope) -> str | None:
    if finder is None:
        return None
    found = finder(scope)
    return await found if inspect.isawaitable(found) else found


class _Conversation:
    """What is set in one request of a browser, or of a log-in, holds in its next one."""

    def __init__(self, known_by: Finder | str, scope: Scope) -> None:
        self._known_by = known_by
        self._scope = scope
        self._key: str | None = None
        self._begun = False
        self._told: Future[None] | None = None

    async def resume(self, cell: Cell) -> None:
        """Let *cell* hold what was set before, and note what is set from now on."""
        from ..sessions.shared_state import conversations

        if isinstance(self._known_by, str):
            self._key = _cookie(self._scope["headers"], self._known_by)
        else:
            self._key = await _found(self._known_by, self._scope)
        session = await conversations.recall_soon(self._key) if self._key else None
        if session is not None:
            cell.session = session
            cell.is_set = True
        cell.changed = self._changed

    def _changed(self, session: Session | None) -> None:
        from ..sessions.shared_state import conversations

        with _REMEMBERING:
            if not self._key:
                self._key = self._begin()
            if self._key:
                self._told = conversations.remember(self._key, session)

    def _begin(self) -> str | None:
        if isinstance(self._known_by, str):
            self._begun = True
            return secrets.token_urlsafe()
        if inspect.iscoroutinefunction(self._known_by):
            return None
        return cast("str | None", self._known_by(self._scope))  # a log-in may have begun one meanwhile

    async def cookie(self) -> str | None:
        """Return the cookie to set, if a conversation has begun that is known by one.

        The next request may come as soon as the answer is out, to another worker: so that one is told first.
        """
        if self._told is not None and not self._told.done():
            with _REMEMBERING, suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(self._told), WAIT_S)
        return f"{self._known_by}={self._key}" if self._begun else None


def _usable(what: str, found: str | None) -> str | None:
    """Return an id as Langfuse groups by it, or None: clients send anything."""
    if not found:
        return None
    try:
        return valid(what, found)
    except (TypeError, ValueError) as error:
        warn_once(f"request {what}", "a request's id is left out: %s", error)
        return None


def _fill(cell: Cell, session_id: str | None, user_id: str | None) -> None:
    """Put what was found into *cell*, over what another such middleware or the conversation put there."""
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


def _cookie(headers: Iterable[tuple[bytes, bytes]], wanted: str) -> str | None:
    for name, value in headers:
        if name == b"cookie":
            for pair in _text(value).split(";"):
                key, _, found = pair.strip().partition("=")
                if key == wanted:
                    return found.strip('"')
    return None


def _just(pair: str) -> Callable[[], Awaitable[str | None]]:
    async def told() -> str:
        return pair

    return told


def _with_cookie(send: Send, pair: Callable[[], Awaitable[str | None]], scope: Scope) -> Send:
    """Return *send* that sets a cookie with the answer: for this site only, and out of its scripts' reach."""
    secure = "; Secure" if scope.get("scheme") in ("https", "wss") else ""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            told = await pair()
            if told is not None:
                value = f"{told}; Path=/; HttpOnly; SameSite=Lax{secure}".encode("latin-1")
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", value)]
        await send(message)

    return sending


def _text(value: bytes) -> str:
    return value.decode("latin-1")
