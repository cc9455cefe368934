"""A WSGI application (Flask, Django, Pyramid, any other): every request has its own session.

    app.wsgi_app = SessionMiddleware(app.wsgi_app)                       # Flask: views call set_session
    application = SessionMiddleware(get_wsgi_application(), cookie="chat", issue="chat")   # Django: a session a browser
    application = SessionMiddleware(application, conversation="login")   # or what was set before holds again

What a view sets holds for all of its request, streamed answers too, and never for the next one on the same thread. The
options are those of the ASGI middleware; what is called there gets the request's environ.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Unpack, cast

from ..recording import tracing
from ..sessions.cells import Cell
from ..sessions.session import Session
from .conversations import WAIT_S, RequestConversation
from .sources import CELL, FINDING, REMEMBERING, SourceOptions, Sources, cookie_in, fill, set_cookie, usable

if TYPE_CHECKING:
    from ..propagation import Extracted

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class SessionMiddleware:
    """Runs every request in a context of its own, with the session that the declared sources name.

    Args:
        app: the application inside.
        options: which sources name the session; see `SourceOptions`. What is called there gets the environ.

    Raises:
        TypeError: an unknown option.
    """

    def __init__(self, app: Application, **options: Unpack[SourceOptions]) -> None:
        self._app = app
        self._sources = Sources(options)
        name = self._sources.header
        self._header = f"HTTP_{name.upper().replace('-', '_')}" if name else None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: its session ends with it, whatever the thread does next."""
        context = copy_context()
        start = context.run(self._begin, environ, start_response)
        body = context.run(self._app, environ, start)
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper)):
            return body  # nothing of the application runs any more
        return _Body(body, context)

    def _begin(self, environ: Environ, start_response: StartResponse) -> StartResponse:
        """Make the request's cell active in this context, and return what the application calls to answer."""
        sources = self._sources
        cell: Cell | None = environ.get(CELL)
        if cell is None:  # else there is another such middleware outside of this one
            cell = environ[CELL] = Cell.of_request()
        tracing.store.place(cell)
        caller = self._caller(environ)
        session = (caller.session if caller is not None else None) or Session(None)
        with FINDING:
            session_id = usable("session_id", self._session_id(environ)) or session.session_id
            if sources.conversation is not None:
                conversation = _resumed(sources.conversation, environ, cell)
                start_response = _with_cookie(start_response, lambda: _cookie_of(conversation), environ)
            if session_id is None and sources.issue and sources.cookie and not cell.is_set:
                session_id = f"{sources.issue}-{uuid.uuid4().hex}"
                pair = f"{sources.cookie}={session_id}"
                start_response = _with_cookie(start_response, lambda: pair, environ)
            user = sources.user(environ) if sources.user is not None else None
            fill(cell, session_id, usable("user_id", user) or session.user_id)
        if caller is not None:
            caller.join()  # for as long as this context lives
        return start_response

    def _caller(self, environ: Environ) -> Extracted | None:
        if not self._sources.baggage:
            return None
        from ..propagation import extract

        names = {name: f"HTTP_{name.upper()}" for name in ("traceparent", "tracestate", "baggage")}
        return extract({name: environ[key] for name, key in names.items() if environ.get(key)})

    def _session_id(self, environ: Environ) -> str | None:
        sources = self._sources
        session_id = sources.session(environ) if sources.session is not None else None
        if not session_id and self._header is not None:
            session_id = environ.get(self._header)
        if not session_id and sources.cookie is not None:
            session_id = _cookie(environ, sources.cookie)
        return cast("str | None", session_id)


class _Body:
    """An answer whose parts are made in the request's context."""

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body = body
        self._context = context
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._parts is None:
            self._parts = self._context.run(iter, self._body)
        return self._context.run(next, self._parts)

    def close(self) -> None:
        """End the answer, as every WSGI server does."""
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


def _resumed(source: Callable[[Any], Any] | str, environ: Environ, cell: Cell) -> RequestConversation:
    """Return the request's conversation, with what was set before in *cell*."""
    from ..sessions.shared_state import conversations

    key = _cookie(environ, source) if isinstance(source, str) else source(environ)
    conversation = RequestConversation(source, environ, key)
    conversation.resume(cell, conversations.recall(key) if key else None)
    return conversation


def _cookie_of(conversation: RequestConversation) -> str | None:
    """Return the cookie that the answer sets, once other workers know the session."""
    if conversation.remembered is not None:
        with REMEMBERING, suppress(Late):
            conversation.remembered.result(WAIT_S)
    return conversation.cookie


def _with_cookie(start: StartResponse, pair: Callable[[], str | None], environ: Environ) -> StartResponse:
    secure = environ.get("wsgi.url_scheme") == "https"

    def starting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        cookie = pair()
        if cookie is not None:
            headers = [*headers, ("Set-Cookie", set_cookie(cookie, secure=secure))]
        return start(status, headers, *rest)

    return starting


def _cookie(environ: Environ, name: str) -> str | None:
    return cookie_in([environ.get("HTTP_COOKIE", "")], name)
