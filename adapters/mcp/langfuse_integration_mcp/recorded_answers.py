"""Answers to requests of MCP clients, from the recording of a session.

A request belongs to the row whose ids are in its `_meta`; that row has a place in the tree, and the recording an answer
for that place. Requests that no row is about (a handshake, a listing) are answered by what was recorded of the server.
Which server that is, a connection shows with the first call that has a place; until then it is the next one in the
recording that is reached in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from langfuse_integration.errors import NotRecorded
from langfuse_integration.internals.bounded import BoundedDict
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import private
from .call import McpCall, open_rows
from .commands import command_of
from .methods import CALL_TOOL, SUBJECTS

Fields = dict[str, Any]
METHOD_NOT_FOUND = -32601
REFUSED = -32097
"""The code of an answer that stands for NotRecorded, on its way to who has asked."""

EMPTY = frozenset({"ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""Requests whose answer says nothing."""
RESPONSES = "inputResponses"
"""The parameter in which a call that is made again has the answers to the server's questions."""


class RecordedExchange(NamedTuple):
    """An exchange from the recording.

    Attributes:
        fields: its exact form.
        form: that of the whole call, or None for a request that no row is about.
    """

    fields: Fields
    form: Mapping[str, Any] | None = None


class ClientConnection:
    """One connection of a client in this replay.

    Args:
        address: tells the servers apart.
        transport: how the server is reached.
        process: the parameters of its process, or None.

    Attributes:
        server: the name of the recorded server that it leads to, once a call has shown it.
    """

    def __init__(self, address: str, transport: str, process: Any = None) -> None:
        self.address = address
        self.transport = transport
        self.process = process
        self.server: str | None = None


class RecordedAnswers:
    """The recorded answers of all servers.

    Args:
        session: answers the calls that have a place.
    """

    def __init__(self, session: ReplaySession) -> None:
        self.session = session
        self.refusals: BoundedDict[str, NotRecorded] = BoundedDict(1_000)
        self._names: dict[str, str] = {}
        self._left: BoundedDict[str, list[RecordedExchange]] = BoundedDict(10_000)

    def answer(self, method: str, params: Mapping[str, Any], connection: ClientConnection) -> RecordedExchange | None:
        """Return the recorded exchange of a request; None when it goes on live.

        Raises:
            NotRecorded: the recording has no answer.
        """
        traceparent = (params.get("_meta") or {}).get("traceparent")
        call = open_rows.get(traceparent) if isinstance(traceparent, str) else None
        if call is None or call.method.wire != method:
            return self._aside(method, params, connection)
        left = self._left.get(call.traceparent)
        if left:
            self._compare_responses(left[0], params)
            return left.pop(0)
        form = self.session.answer(self._question(call, params, connection))
        if form is None:
            return None
        self._shown(connection, str(form.get("of")))
        self._compare_command(form, connection)
        with rebuilding(self.session, form):
            exchanges = [_replaced(form)] if "replaced" in form else [{**fields} for fields in form["exchanges"]]
        if not exchanges:  # answered by the client's cache
            return self._aside(method, params, connection)
        left = self._left[call.traceparent] = [RecordedExchange(fields, form) for fields in exchanges]
        return left.pop(0)

    def replied(self, exchange: RecordedExchange, sent: Mapping[str, Any], reply: Mapping[str, Any]) -> None:
        """Compare the client's reply to a question of the server.

        Args:
            sent: the question in its exact form.
            reply: a JSON-RPC message with `result` or `error`.
        """
        recorded = sent.get("reply")
        if exchange.form is None or not isinstance(recorded, dict):
            return
        now = {key: reply[key] for key in ("result", "error") if key in reply}
        if recorded.get("error") == {} and "error" in now:  # what the callback raised
            return
        self.session.compare(exchange.form, f"client's answer to {sent['method']}", recorded, now)

    def _compare_responses(self, exchange: RecordedExchange, params: Mapping[str, Any]) -> None:
        """Compare the answers to the server's questions with which a call is made again."""
        recorded = (exchange.fields.get("params") or {}).get(RESPONSES)
        if exchange.form is not None and isinstance(recorded, dict):
            now = params.get(RESPONSES) or {}
            self.session.compare(exchange.form, "client's answer to the server's questions", recorded, now)

    def _compare_command(self, form: Mapping[str, Any], connection: ClientConnection) -> None:
        """Compare the command that starts the server with the recorded one, once for each connection."""
        process, connection.process = connection.process, None
        recorded = self.session.servers.get(str(form.get("of")), {}).get("command")
        if process is not None and isinstance(recorded, str):
            commands = {"command": recorded}, {"command": command_of(process)}
            self.session.compare(form, f"command of the server {form.get('of')}", *commands)

    def _question(self, call: McpCall, params: Mapping[str, Any], connection: ClientConnection) -> Question:
        given = call.connection.given if call.connection.given in self.session.servers else None
        certain = given or connection.server
        return Question(
            "mcp",
            _name(call),
            call.row,
            params.get("arguments") or {} if call.method is CALL_TOOL else None,
            server=certain or self._names.get(connection.address),
            server_is_certain=certain is not None,
        )

    def _shown(self, connection: ClientConnection, server: str) -> None:
        """Note the server that has answered; behind a gateway, which makes no handshake, several may."""
        self._names[connection.address] = server
        if connection.server is None and "initialize" in self.session.servers.get(server, {}):
            connection.server = server

    def message(self, id_: Any, exchange: RecordedExchange) -> Any:
        """Return the SDK's message with the answer; None for a call that was cancelled, which has none."""
        name = next((name for name in ("error", "result") if name in exchange.fields), None)
        if name is None:
            return None
        answer = {"jsonrpc": "2.0", "id": id_}
        try:
            with rebuilding(self.session, exchange.form or {}):
                return private.jsonrpc({**answer, name: exchange.fields[name]})
        except NotRecorded as error:
            return private.jsonrpc({**answer, "error": self.refuse(error)})

    def refusal(self, error: BaseException) -> NotRecorded | None:
        """Return the NotRecorded that an error of the SDK stands for, or None."""
        data = getattr(error, "error", None)
        return self.refusals.get(str(getattr(data, "message", ""))) if getattr(data, "code", 0) == REFUSED else None

    def refuse(self, error: NotRecorded) -> dict[str, Any]:
        """Return the protocol's error that stands for *error*."""
        self.refusals[str(error)] = error
        return {"code": REFUSED, "message": str(error)}

    def _aside(self, method: str, params: Mapping[str, Any], connection: ClientConnection) -> RecordedExchange | None:
        if method in EMPTY:
            return RecordedExchange({"result": {}})
        name = self._server(connection)
        recorded = self.session.servers.get(name, {}) if name is not None else {}
        cursor = params.get("cursor")
        exchange = recorded.get(f"{method} {cursor}" if cursor else method)
        if exchange is not None:
            return RecordedExchange(exchange)
        if method == "server/discover":
            return RecordedExchange({"error": {"code": METHOD_NOT_FOUND, "message": "Method not found"}})
        if method == "initialize":
            return RecordedExchange({"result": _handshake(params, name)})
        form = self.session.answer(Question("mcp", method, None))
        return RecordedExchange(form["exchanges"][0], form) if form is not None else None

    def _server(self, connection: ClientConnection) -> str | None:
        name = connection.server or self._names.get(connection.address)
        if name is None:
            taken = set(self._names.values())
            ways = {name: entry.get("transport") for name, entry in self.session.servers.items()}
            free = [name for name in ways if name not in taken] or list(ways)
            name = next((name for name in free if ways[name] == connection.transport), free[0] if free else None)
            if name is not None:
                self._names[connection.address] = name
        return name


def process_of(positional: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """Return the parameters of a server's process, of what a transport is opened with; None for an address."""
    server = positional[0] if positional else next(iter(named.values()), None)
    return server if hasattr(server, "command") else None


def address_of(transport: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Return what tells servers apart: the command and its arguments, or the URL."""
    process = process_of(positional, named)
    if process is not None:
        return json.dumps([transport, process.command, *(process.args or ())])
    return json.dumps([transport, str(positional[0] if positional else next(iter(named.values()), None))])


def _name(call: McpCall) -> str:
    wire = call.method.wire
    return f"{wire} {call.subject}" if wire in SUBJECTS and call.subject else wire


def _handshake(params: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the answer of a server that is able to do everything, where none was recorded."""
    everything: dict[str, Any] = {kind: {} for kind in ("tools", "resources", "prompts", "completions", "logging")}
    info = {"name": name or "recorded", "version": ""}
    return {"protocolVersion": params.get("protocolVersion"), "capabilities": everything, "serverInfo": info}


def _replaced(form: Mapping[str, Any]) -> Fields:
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
