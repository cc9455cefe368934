"""A server that answers from the recording, at the other end of a transport that is never opened.

It speaks JSON-RPC with the client's own session, in memory: the handshake, validation, progress and the client's
callbacks run as with a real server. Requests that go on live open the real transport, with a handshake of its own.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from langfuse_integration.errors import NotRecorded

from . import private
from .exchanges import ECHO
from .recorded_answers import ClientConnection, RecordedAnswers, RecordedExchange, address_of, process_of

Fields = dict[str, Any]
HANDSHAKE = "replay-handshake"
REQUESTS = "inputRequests"
"""The entry of a result that asks the client, which answers with the next request of the call."""


def recorded_transport(transport: str, opener: private.Opener, answers: RecordedAnswers) -> private.Opener:
    """Return what opens a transport to the recording in the place of *opener*."""

    async def opened(*positional: Any, **named: Any) -> AsyncGenerator[Any, None]:
        to_client, from_server = anyio.create_memory_object_stream[Any](math.inf)
        to_server, from_client = anyio.create_memory_object_stream[Any](math.inf)
        async with to_client, from_server, to_server, from_client, anyio.create_task_group() as tasks:
            address = address_of(transport, positional, named)
            live = LiveTransport(opener, positional, named, to_client, tasks)
            server = RecordedServer(
                answers, ClientConnection(address, transport, process_of(positional, named)), to_client, live
            )
            tasks.start_soon(server.serve, from_client, tasks)
            streams = (from_server, to_server)
            try:
                yield (*streams, _no_session_id) if private.yields_session_id(transport) else streams
            finally:
                with anyio.CancelScope(shield=True):
                    await live.close()
                tasks.cancel_scope.cancel()

    return opened


def _no_session_id() -> None:
    return None


class RecordedServer:
    """The server's end of one connection.

    Args:
        answers: the recording.
        connection: this one.
        to_client: takes the messages for the client.
        live: the real server, for requests that go on live.
    """

    def __init__(
        self, answers: RecordedAnswers, connection: ClientConnection, to_client: Any, live: LiveTransport
    ) -> None:
        self._answers = answers
        self._connection = connection
        self._to_client = to_client
        self._live = live
        self._asked: dict[str, _Asked] = {}
        self._count = 0

    async def serve(self, from_client: Any, tasks: TaskGroup) -> None:
        """Answer what the client sends; requests at the same time, as they come."""
        async for message in from_client:
            fields = private.fields_of(message)
            method, id_ = fields.get("method"), fields.get("id")
            if method is not None and id_ is not None:
                tasks.start_soon(self._request, fields, message)
            elif id_ in self._asked:
                self._asked.pop(id_).reply(self._answers, fields)
            else:
                await self._live.pass_on(message)

    async def _request(self, fields: Fields, message: Any) -> None:
        method, params = fields["method"], fields.get("params") or {}
        if method == "initialize":
            self._live.handshake = params
        exchange: RecordedExchange | None
        try:
            exchange = self._answers.answer(method, params, self._connection)
        except NotRecorded as error:
            exchange = RecordedExchange({"error": self._answers.refuse(error)})
        if exchange is None:
            await self._live.open()
            await self._live.pass_on(message)
            return
        asks_by_answer = REQUESTS in (exchange.fields.get("result") or {})
        for sent in exchange.fields.get("messages", ()):
            if sent["method"].startswith("notifications/") or not asks_by_answer:
                await self._send(exchange, sent, params.get("_meta") or {})
        answer = self._answers.message(fields["id"], exchange)
        if answer is not None:
            await self._to_client.send(answer)
        # else it was cancelled, so no answer came: the application stops waiting, as it did.

    async def _send(self, exchange: RecordedExchange, sent: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Send a message of the server; the answer to a question is awaited, and compared."""
        method, params = sent["method"], dict(sent.get("params") or {})
        fields: Fields = {"jsonrpc": "2.0", "method": method}
        if method == "notifications/progress":
            if "progressToken" not in meta:
                return
            params["progressToken"] = meta["progressToken"]
        if (params.get("_meta") or {}).get("traceparent") == ECHO:
            params["_meta"] = {**params["_meta"], "traceparent": meta.get("traceparent")}
        if params:
            fields["params"] = params
        if method.startswith("notifications/"):
            await self._to_client.send(private.jsonrpc(fields))
            return
        self._count += 1
        fields["id"] = f"replay-{self._count}"
        self._asked[fields["id"]] = asked = _Asked(exchange, sent)
        await self._to_client.send(private.jsonrpc(fields))
        await asked.answered.wait()


class _Asked:
    """A question of the server that the client has not answered yet."""

    def __init__(self, exchange: RecordedExchange, sent: Mapping[str, Any]) -> None:
        self.answered = anyio.Event()
        self._exchange = exchange
        self._sent = sent

    def reply(self, answers: RecordedAnswers, fields: Fields) -> None:
        """Take the client's reply."""
        answers.replied(self._exchange, self._sent, fields)
        self.answered.set()


class LiveTransport:
    """The real transport, opened with the first request that goes on live.

    Attributes:
        handshake: the parameters of the client's handshake, which the real server has to be told again; or None.
    """

    def __init__(
        self,
        opener: private.Opener,
        positional: tuple[Any, ...],
        named: Mapping[str, Any],
        to_client: Any,
        tasks: TaskGroup,
    ) -> None:
        self.handshake: Fields | None = None
        self._opener = opener
        self._positional = positional
        self._named = named
        self._to_client = to_client
        self._tasks = tasks
        self._lock = anyio.Lock()
        self._greeted = anyio.Event()
        self._write: Any = None
        self._reading: anyio.CancelScope | None = None
        self._closed = anyio.Event()

    async def open(self) -> None:
        """Open the transport, once, and do the handshake."""
        async with self._lock:
            if self._write is None:
                self._write = await self._tasks.start(self._run)
                if self.handshake is not None:
                    greeting = {"id": HANDSHAKE, "method": "initialize", "params": self.handshake}
                    await self._write.send(private.jsonrpc({"jsonrpc": "2.0", **greeting}))
                    await self._greeted.wait()
                    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
                    await self._write.send(private.jsonrpc(done))

    async def pass_on(self, message: Any) -> None:
        """Give the real server a message of the client, if it is open."""
        if self._write is not None:
            await self._write.send(message)

    async def close(self) -> None:
        """Close the transport as a client does, without cancelling what closes it."""
        if self._reading is not None:
            self._reading.cancel()
            await self._closed.wait()

    async def _run(self, *, task_status: Any) -> None:
        try:
            async with asynccontextmanager(self._opener)(*self._positional, **self._named) as streams:
                with anyio.CancelScope() as self._reading:
                    task_status.started(streams[1])
                    await self._read(streams[0])
        finally:
            self._closed.set()

    async def _read(self, messages: Any) -> None:
        async for message in messages:
            if not isinstance(message, Exception) and private.fields_of(message).get("id") == HANDSHAKE:
                self._greeted.set()
            else:
                await self._to_client.send(message)
