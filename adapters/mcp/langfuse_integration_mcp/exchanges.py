"""Exchanges with a server: each request, what the server sent meanwhile, and its answer; noted by reference.

A row's exact form is made of them, for the replay of a session. Requests that belong to no row (the handshake, the
listing of tools before a conversation) are kept for each server, and go along with the first row of a session, and
again after they have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langfuse_integration.internals.bounded import BoundedDict

from .exact import form_of, form_of_error

LIMIT = 1_000
"""The most exchanges of one row, and messages of one exchange; further ones are not kept."""


class McpExchange:
    """One request of the client.

    Attributes:
        method: its name in the protocol.
        params: its parameters, or None.
        messages: what the server sent meanwhile: (method, parameters).
        answered: whether there is a result.
        error: the exception that ended it, or None.
    """

    __slots__ = ("answered", "error", "messages", "method", "params", "result")

    def __init__(self, request: Any) -> None:
        inner = getattr(request, "root", request)
        self.method = str(inner.method)
        self.params = getattr(inner, "params", None)
        self.messages: list[tuple[str, Any]] = []
        self.result: Any = None
        self.answered = False
        self.error: BaseException | None = None

    def answer(self, result: Any) -> None:
        """Note the server's answer."""
        self.result = result
        self.answered = True

    def heard(self, method: str, params: Any) -> None:
        """Note a message of the server, sent before its answer."""
        if len(self.messages) < LIMIT:
            self.messages.append((method, params))


class Aside:
    """The latest exchanges of each server that belong to no row."""

    def __init__(self) -> None:
        self._servers: BoundedDict[str, BoundedDict[str, McpExchange]] = BoundedDict(200)
        self._versions: BoundedDict[str, int] = BoundedDict(200)
        self._passed: BoundedDict[tuple[str | None, str], int] = BoundedDict(20_000)

    def keep(self, server: str, exchanges: Sequence[McpExchange]) -> None:
        """Keep the *exchanges* of a call that has no row; of equal requests the last one counts."""
        kept = self._servers.get(server)
        if kept is None:
            self._servers[server] = kept = BoundedDict(LIMIT)
        for exchange in exchanges:
            kept[f"{exchange.method} {getattr(exchange.params, 'cursor', None) or ''}"] = exchange
        self._versions[server] = self._versions.get(server, 0) + 1

    def for_session(self, server: str, session_id: str | None) -> list[McpExchange]:
        """Return what a session's recording does not have yet."""
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
        exchanges: those of the row.
        before: those that belong to no row, and that this session's recording does not have yet.
    """

    __slots__ = ("_before", "_exchanges")

    def __init__(self, exchanges: Sequence[McpExchange], before: Sequence[McpExchange]) -> None:
        self._exchanges = exchanges
        self._before = before

    def __call__(self) -> dict[str, Any]:
        """Return `exchanges`, and `before` where there are any."""
        form: dict[str, Any] = {"exchanges": form_of_exchanges(self._exchanges)}
        if self._before:
            form["before"] = form_of_exchanges(self._before)
        return form


def form_of_exchanges(exchanges: Sequence[McpExchange]) -> list[dict[str, Any]]:
    """Return the exact form of requests and what came back for each, in order.

    Each entry has `method`, `params`, and `result` or `error`; an exchange without either was cut off. `messages` lists
    what the server sent meanwhile, each with `method` and `params`.
    """
    return [_form_of_exchange(exchange) for exchange in exchanges]


def _form_of_exchange(exchange: McpExchange) -> dict[str, Any]:
    form: dict[str, Any] = {"method": exchange.method}
    params = form_of(exchange.params)
    if params:
        form["params"] = {key: value for key, value in params.items() if key != "_meta"}
    if exchange.messages:
        form["messages"] = [
            {"method": method, **({"params": sent} if (sent := form_of(params)) else {})}
            for method, params in exchange.messages
        ]
    if exchange.error is not None:
        error = form_of_error(exchange.error)
        if error is not None:
            form["error"] = error
    elif exchange.answered:
        form["result"] = form_of(exchange.result)
    return form
