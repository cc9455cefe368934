"""A conversation: what is set in one request of a browser, or of a log-in, holds in its next one; ASGI and WSGI."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

from ..sessions.cells import Cell
from ..sessions.session import Session
from .sources import REMEMBERING

WAIT_S = 0.25
"""What the start of an answer waits for other workers to know the session that was set; seconds, at most.

The next request may come as soon as the answer is out, to another worker, which has to know the session then.
"""


class RequestConversation:
    """The conversation that one request belongs to, or begins.

    Args:
        source: the name of the cookie that holds the key, or what is called with the request for it.
        request: ASGI's scope or WSGI's environ.
        key: the key that the request brings, or None.

    Attributes:
        remembered: done once the other workers know what was set in this request; None if nothing was.
    """

    def __init__(self, source: Callable[[Any], Any] | str, request: Any, key: str | None) -> None:
        self._source = source
        self._request = request
        self._key = key
        self._begun = False
        self.remembered: Future[None] | None = None

    def resume(self, cell: Cell, session: Session | None) -> None:
        """Put into *cell* what was set before, and remember what is set from now on."""
        if session is not None:
            cell.session = session
            cell.is_set = True
        cell.changed = self._changed

    @property
    def cookie(self) -> str | None:
        """The cookie to set, `name=key`, if a conversation has begun that is known by one."""
        return f"{self._source}={self._key}" if self._begun else None

    def _changed(self, session: Session | None) -> None:
        from ..sessions.shared_state import conversations

        with REMEMBERING:
            if not self._key:
                self._key = self._begin()
            if self._key:
                self.remembered = conversations.remember(self._key, session)

    def _begin(self) -> str | None:
        if isinstance(self._source, str):
            self._begun = True
            return secrets.token_urlsafe()
        if inspect.iscoroutinefunction(self._source):
            return None
        return cast("str | None", self._source(self._request))  # a log-in may have begun one meanwhile
