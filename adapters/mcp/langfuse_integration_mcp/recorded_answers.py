"""Answers to requests of MCP clients, from the recording of a session.

A request belongs to the row whose ids are in its `_meta`; that row has a place in the tree, and the recording an answer
for that place. Requests that no row is about (a handshake, a listing) are answered by what was recorded of the server.
Which server that is, a connection shows with the first call that has a place; until then it is the next one in the
recording that is reached in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langfuse_integration.errors import NotRecorded
from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question

from .call import McpCall, open_rows
from .methods import SUBJECTS

Answered = dict[str, Any]
METHOD_NOT_FOUND = -32601
REFUSED = -32097
"""The code of an answer that stands for NotRecorded, on its way to who has asked."""

EMPTY = frozenset({"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Requests whose answer says nothing."""


class RecordedAnswers:
    """The recorded answers of all servers.

    Args:
        session: answers the calls that have a place.
    """

    def __init__(self, session: ReplaySession) -> None:
        self.session = session
        self.refusals: BoundedDict[str, NotRecorded] = BoundedDict(1_000)
        self._names: dict[str, str] = {}
        self._left: BoundedDict[str, list[Answered]] = BoundedDict(10_000)

    def answer(self, method: str, params: Mapping[str, Any], address: str, transport: str) -> Answered | None:
        """Return the recorded exchange of a request; None when it goes on live.

        Args:
            address: tells the servers apart in this replay.
            transport: how the server is reached.

        Raises:
            NotRecorded: the recording has no answer.
        """
        traceparent = (params.get("_meta") or {}).get("traceparent")
        call = open_rows.get(traceparent) if isinstance(traceparent, str) else None
        if call is None or call.method.wire != method:
            return self._aside(method, params, address, transport)
        left = self._left.get(call.traceparent)
        if not left:
            form = self.session.answer(Question("mcp", _name(call), call.row))
            if form is None:
                return None
            self._names[address] = str(form.get("of"))
            left = [_replaced(form)] if "replaced" in form else list(form["exchanges"])
            if not left:  # answered by the client's cache
                return self._aside(method, params, address, transport)
            self._left[call.traceparent] = left
        return left.pop(0)

    def refusal(self, error: BaseException) -> NotRecorded | None:
        """Return the NotRecorded that an error of the SDK stands for, or None."""
        data = getattr(error, "error", None)
        return self.refusals.get(str(getattr(data, "message", ""))) if getattr(data, "code", 0) == REFUSED else None

    def refuse(self, error: NotRecorded) -> dict[str, Any]:
        """Return the protocol's error that stands for *error*."""
        self.refusals[str(error)] = error
        return {"code": REFUSED, "message": str(error)}

    def _aside(self, method: str, params: Mapping[str, Any], address: str, transport: str) -> Answered | None:
        if method in EMPTY:
            return {"result": {}}
        name = self._server(address, transport)
        recorded = self.session.servers.get(name, {}) if name is not None else {}
        cursor = params.get("cursor")
        exchange = recorded.get(f"{method} {cursor}" if cursor else method)
        if exchange is not None:
            return dict(exchange)
        if method == "server/discover":
            return {"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}}
        if method == "initialize":
            return {"result": _handshake(params, name)}
        form = self.session.answer(Question("mcp", method, None))
        return dict(form["exchanges"][0]) if form is not None else None

    def _server(self, address: str, transport: str) -> str | None:
        name = self._names.get(address)
        if name is None:
            taken = set(self._names.values())
            ways = {name: entry.get("transport") for name, entry in self.session.servers.items()}
            free = [name for name in ways if name not in taken] or list(ways)
            name = next((name for name in free if ways[name] == transport), free[0] if free else None)
            if name is not None:
                self._names[address] = name
        return name


def address_of(transport: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Return what tells servers apart: the command and its arguments, or the URL."""
    server = positional[0] if positional else next(iter(named.values()), None)
    command = getattr(server, "command", None)
    return json.dumps(
        [transport, command, *getattr(server, "args", ())] if command is not None else [transport, str(server)]
    )


def _name(call: McpCall) -> str:
    wire = call.method.wire
    return f"{wire} {call.subject}" if wire in SUBJECTS and call.subject else wire


def _handshake(params: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the answer of a server that is able to do everything, where none was recorded."""
    everything: dict[str, Any] = {kind: {} for kind in ("tools", "resources", "prompts", "completions", "logging")}
    info = {"name": name or "recorded", "version": ""}
    return {"protocolVersion": params.get("protocolVersion"), "capabilities": everything, "serverInfo": info}


def _replaced(form: Mapping[str, Any]) -> Answered:
    """Return an exchange with the answer that a fork puts in the place of the recorded one.

    A text is the only block of a tool's result; a dict is the result in the protocol's words, or what is structured.
    """
    other = form["replaced"]
    if isinstance(other, dict) and ("content" in other or "contents" in other or "messages" in other):
        return {"result": other}
    text = other if isinstance(other, str) else json.dumps(other)
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
    before = (form.get("exchanges") or [{}])[-1].get("result") or {}
    if isinstance(other, dict):
        result["structuredContent"] = other
    elif set(before.get("structuredContent") or ()) == {"result"}:
        result["structuredContent"] = {"result": other}
    return {"result": result}
