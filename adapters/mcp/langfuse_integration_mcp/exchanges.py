"""Exchanges with a server: each request, what the server sent meanwhile, and its answer; noted by reference.

A row's exact form is made of them, for the replay of a session. Requests that no row is about (the handshake, the
listing of tools before a conversation or within a call) are kept for each server; they go along with the first row of
a session, and again after they have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.recording.noted import as_it_was, note_of

from . import propagation
from .commands import command_of
from .exact import form_of, form_of_error
from .failures import CLOSED

FORM = "mcp.exchanges"

ECHO = "of the call"
"""What stands for the ids of the call where the server has sent them back."""

LIMIT = 1_000
"""The most exchanges of one row, and messages of one exchange; further ones are not kept."""


class ServerMessage:
    """What the server sends before it answers: a notification, or a question to the client.

    Attributes:
        params: its parameters, or None.
        reply: what the client has answered: the SDK's result, or its error; None for a notification.
        failed: the client's callback raised, so that the SDK has answered with an error.
    """

    __slots__ = ("failed", "method", "params", "reply")

    def __init__(self, method: str, params: Any) -> None:
        self.method = method
        self.params = params
        self.reply: Any = None
        self.failed = False


class McpExchange:
    """One request of the client.

    Args:
        request: the SDK's, of either generation, or None: *method* and *result* are given.

    Attributes:
        method: its name in the protocol.
        params: its parameters, or None.
        messages: what the server sent meanwhile.
        answered: whether there is a result.
        noted: the result as it was when it came.
        error: the protocol's error that ended it, in its exact form, or None.
    """

    __slots__ = ("answered", "error", "messages", "method", "noted", "params", "result")

    def __init__(self, request: Any, method: str = "", result: Any = None) -> None:
        inner = getattr(request, "root", request)
        self.method = str(inner.method) if request is not None else method
        self.params = getattr(inner, "params", None)
        self.messages: list[ServerMessage] = []
        self.result: Any = result
        self.noted: Any = result
        self.answered = result is not None
        self.error: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The method, and the page of a listing."""
        cursor = getattr(self.params, "cursor", None)
        return f"{self.method} {cursor}" if cursor else self.method

    def answer(self, result: Any) -> None:
        """Note the server's answer, which the application may change."""
        self.result = result
        self.noted = note_of(result)
        self.answered = True

    def broke(self, error: BaseException) -> None:
        """Note the protocol's error that the server answered with."""
        self.error = form_of_error(error)

    def gave_up(self, reason: str) -> None:
        """Note why no answer came, unless one did: a replay answers that the connection is closed."""
        if not self.answered and self.error is None:
            self.error = {"code": CLOSED, "message": reason}

    def heard(self, method: str, params: Any) -> ServerMessage:
        """Note a message of the server, sent before its answer, and return it."""
        message = ServerMessage(method, params)
        if len(self.messages) < LIMIT:
            self.messages.append(message)
        return message


class Aside:
    """The latest exchanges of each server that no row is about."""

    def __init__(self) -> None:
        self._servers: BoundedDict[str, BoundedDict[str, McpExchange]] = BoundedDict(200)
        self._versions: BoundedDict[str, int] = BoundedDict(200)
        self._passed: BoundedDict[tuple[str | None, str], int] = BoundedDict(20_000)
        self._worker: Any = None

    def keep(self, server: str, exchanges: Iterable[McpExchange]) -> None:
        """Keep *exchanges* with a server; of equal requests the last one counts."""
        kept = self._servers.get(server)
        if kept is None:
            self._servers[server] = kept = BoundedDict(LIMIT)
        for exchange in exchanges:
            before = kept.get(exchange.key)
            if before is None or before.result is not exchange.result:
                kept[exchange.key] = exchange
                self._versions[server] = self._versions.get(server, 0) + 1

    def for_session(self, server: str, session_id: str | None, worker: Any) -> list[McpExchange]:
        """Return what a session's recording does not have yet.

        Args:
            worker: the recorder's; another one records elsewhere.
        """
        if self._worker is not worker:
            self._worker = worker
            self._passed.clear()
        version = self._versions.get(server, 0)
        key = (session_id, server)
        if not version or self._passed.get(key) == version:
            return []
        self._passed[key] = version
        return list(self._servers[server].values())


aside = Aside()


class ExactExchanges:
    """The exact form of a row, built on the worker.

    Args:
        server: the server's name.
        connection: its number, how the server was reached, or None, and the parameters of its process, or None.
        exchanges: those of the row.
        others: those with the server that no row is about, and that this session's recording does not have yet.
    """

    __slots__ = ("_connection", "_others", "_server", "exchanges")

    def __init__(
        self,
        server: str,
        connection: tuple[int, str | None, Any],
        exchanges: Sequence[McpExchange],
        others: Sequence[McpExchange] = (),
    ) -> None:
        self._server = server
        self._connection = connection
        self.exchanges = exchanges
        self._others = others

    def __call__(self) -> dict[str, Any]:
        """Return the form."""
        exchanges = [form_of_exchange(exchange) for exchange in self.exchanges]
        form: dict[str, Any] = {"form": FORM, "of": self._server, "exchanges": exchanges}
        if self._others:
            others = {exchange.key: form_of_exchange(exchange) for exchange in self._others}
            number, transport, process = self._connection
            command = {} if process is None else {"command": command_of(process)}
            form["server"] = {"name": self._server, "connected": number, "transport": transport, **command, **others}
        return form


def form_of_exchange(exchange: McpExchange) -> dict[str, Any]:
    """Return the exact form of a request and what came back for it.

    It has `method`, `params`, and `result` or `error`; an exchange without either was cancelled. `messages` lists what
    the server sent meanwhile, each with `method` and `params`; a question has the client's `reply`, which holds
    `result` or `error`.
    """
    form: dict[str, Any] = {"method": exchange.method}
    params = form_of(exchange.params)
    if params:
        form["params"] = {key: value for key, value in params.items() if key != "_meta"}
    if exchange.messages:
        form["messages"] = [_form_of_message(message) for message in exchange.messages]
    if exchange.error is not None:
        form["error"] = exchange.error
    elif exchange.answered:
        form["result"] = form_of(as_it_was(exchange.noted))
    return form


def _form_of_message(message: ServerMessage) -> dict[str, Any]:
    form: dict[str, Any] = {"method": message.method}
    sent = form_of(message.params)
    meta = sent.pop("_meta", None) if isinstance(sent, dict) else None
    if meta:
        kept = {key: value for key, value in meta.items() if key not in propagation.KEYS}
        sent["_meta"] = {**kept, **({"traceparent": ECHO} if "traceparent" in meta else {})}
    if sent:
        form["params"] = sent
    if message.failed:
        form["reply"] = {"error": {}}
    elif message.reply is not None:
        is_error = hasattr(message.reply, "code") and hasattr(message.reply, "message")
        form["reply"] = {"error" if is_error else "result": form_of(message.reply)}
    return form
