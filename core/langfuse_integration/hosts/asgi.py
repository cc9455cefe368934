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
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Unpack

from ..recording import tracing
from ..sessions.cells import Cell
from ..sessions.session import Session
from .conversations import WAIT_S, RequestConversation
from .sources import CELL, FINDING, REMEMBERING, SourceOptions, Sources, cookie_in, fill, set_cookie, usable

if TYPE_CHECKING:
    from ..propagation import Extracted

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Finder = Callable[[Scope], "str | Awaitable[str | None] | None"]


class SessionMiddleware:
    """Gives every request a cell of its own, and puts the session into it that the declared sources name.

    Args:
        app: the application inside.
        options: which sources name the session; see `SourceOptions`. What is called there gets the scope, and may be
            awaitable. An authentication middleware has to be outside of this one for `scope["user"]` to be there.

    Raises:
        TypeError: an unknown option.
    """

    def __init__(self, app: Application, **options: Unpack[SourceOptions]) -> None:
        self._app = app
        self._sources = Sources(options)
        tracing.store.load_hosts()  # Gradio may start its queue in the first visitor's request
        self._header = self._sources.header.lower().encode("latin-1") if self._sources.header else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application inside with the request's cell in its context."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        cell: Cell | None = scope.get(CELL)
        if cell is None:  # else there is another such middleware outside of this one
            cell = scope[CELL] = Cell.of_request()
        caller = self._caller(scope)
        session = (caller.session if caller is not None else None) or Session(None)
        with FINDING:
            session_id = usable("session_id", await self._session_id(scope)) or session.session_id
            if self._sources.conversation is not None:
                conversation = await _resumed(self._sources.conversation, scope, cell)
                send = _with_cookie(send, lambda: _cookie_of(conversation), scope)
            if session_id is None and self._issues(scope, cell):
                session_id = f"{self._sources.issue}-{uuid.uuid4().hex}"
                if self._sources.cookie is not None:
                    send = _with_cookie(send, _just(f"{self._sources.cookie}={session_id}"), scope)
            user_id = usable("user_id", await _called(self._sources.user, scope)) or session.user_id
            fill(cell, session_id, user_id)
        with tracing.store.visiting(cell):
            if caller is not None:
                caller.join()
            try:
                await self._app(scope, receive, send)
            finally:
                if caller is not None:
                    caller.leave()

    def _caller(self, scope: Scope) -> Extracted | None:
        if not self._sources.baggage:
            return None
        from ..propagation import extract

        return extract(scope["headers"])

    async def _session_id(self, scope: Scope) -> str | None:
        session_id = await _called(self._sources.session, scope)
        if not session_id and self._header is not None:
            session_id = next((_text(value) for name, value in scope["headers"] if name == self._header), None)
        if not session_id and self._sources.cookie is not None:
            session_id = _cookie(scope, self._sources.cookie)
        return session_id

    def _issues(self, scope: Scope, cell: Cell) -> bool:
        return (
            bool(self._sources.issue)
            and not cell.is_set
            and (scope["type"] == "websocket" or self._sources.cookie is not None)
        )


async def _called(finder: Finder | None, scope: Scope) -> str | None:
    if finder is None:
        return None
    value = finder(scope)
    return await value if inspect.isawaitable(value) else value


async def _resumed(source: Finder | str, scope: Scope, cell: Cell) -> RequestConversation:
    """Return the request's conversation, with what was set before in *cell*."""
    from ..sessions.shared_state import conversations

    key = _cookie(scope, source) if isinstance(source, str) else await _called(source, scope)
    conversation = RequestConversation(source, scope, key)
    conversation.resume(cell, await conversations.recall_soon(key) if key else None)
    return conversation


async def _cookie_of(conversation: RequestConversation) -> str | None:
    """Return the cookie that the answer sets, once other workers know the session."""
    remembered = conversation.remembered
    if remembered is not None and not remembered.done():
        with REMEMBERING, suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(remembered), WAIT_S)
    return conversation.cookie


def _cookie(scope: Scope, name: str) -> str | None:
    return cookie_in((_text(value) for header, value in scope["headers"] if header == b"cookie"), name)


def _just(pair: str) -> Callable[[], Awaitable[str | None]]:
    async def cookie() -> str:
        return pair

    return cookie


def _with_cookie(send: Send, pair: Callable[[], Awaitable[str | None]], scope: Scope) -> Send:
    """Return *send* that sets a cookie with the answer."""
    secure = scope.get("scheme") in ("https", "wss")

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            cookie = await pair()
            if cookie is not None:
                value = set_cookie(cookie, secure=secure).encode("latin-1")
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", value)]
        await send(message)

    return sending


def _text(value: bytes) -> str:
    return value.decode("latin-1")
