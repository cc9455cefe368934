"""ModelServer: a model provider on a local port, which answers what a test scripts.

It speaks OpenAI's chat completions and responses and Anthropic's messages, so that the real clients talk to it:

    server.script(call("search", {"query": "wool"}), say("Alpacas."))
    ChatOpenAI(model="gpt-5", base_url=server.openai_url, api_key="key")
    ChatAnthropic(model="claude-5", base_url=server.anthropic_url, api_key="key")
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peers import wire_anthropic, wire_openai
from peers.replies import Failure, Piece, Reply, ToolCall, Usage, call, calls, fail, refuse, say
from peers.server import Answer, Cut, LocalServer, Request

__all__ = ["ModelServer", "Reply", "ToolCall", "Usage", "call", "calls", "fail", "refuse", "say"]


@dataclass(frozen=True, slots=True)
class Wire:
    """How one endpoint writes a reply."""

    whole: Callable[[Reply, dict[str, Any]], dict[str, Any]]
    stream: Callable[[Reply, dict[str, Any]], Iterator[Piece]]
    failure: Callable[[Failure], dict[str, Any]]


WIRES = {
    "/v1/chat/completions": Wire(wire_openai.completion, wire_openai.completion_stream, wire_openai.failure),
    "/v1/responses": Wire(wire_openai.response, wire_openai.response_stream, wire_openai.failure),
    "/v1/messages": Wire(wire_anthropic.message, wire_anthropic.message_stream, wire_anthropic.failure),
}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request as a client sent it; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def tools(self) -> list[str]:
        """The names of the tools that were offered."""
        return [tool.get("name") or tool["function"]["name"] for tool in self.body.get("tools", [])]


class ModelServer(LocalServer):
    """A model provider that uses up scripted replies, one a request; retries of a client are requests, too."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []
        """Every request, in order of arrival."""
        self.unscripted: Callable[[ModelRequest], Reply] = _unscripted
        """Answers the requests that find no scripted reply, for tests whose order is not fixed."""
        self._script: deque[Reply] = deque()
        self._guard = threading.Lock()
        super().__init__()

    @property
    def openai_url(self) -> str:
        """The base URL for clients of OpenAI."""
        return self.url + "/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL for clients of Anthropic."""
        return self.url

    def script(self, *replies: Reply) -> None:
        """Queue replies, one for each of the next requests."""
        with self._guard:
            self._script.extend(replies)

    @property
    def left(self) -> int:
        """How many scripted replies are not sent yet."""
        return len(self._script)

    def answer(self, request: Request) -> Answer:
        """Write the next reply in the format of the requested endpoint."""
        wire = WIRES.get(request.path)
        if wire is None or request.method != "POST":
            return Answer(404, b"{}", {"Content-Type": "application/json"})
        model_request = ModelRequest(request.path, request.headers, json.loads(request.body))
        with self._guard:
            self.requests.append(model_request)
            reply = self._script.popleft() if self._script else None
        reply = reply or self.unscripted(model_request)
        headers = {"request-id": "req_1", "x-request-id": "req_1"}
        headers["Connection"] = "close"  # providers' clients are rarely closed by tests, and would leave open sockets
        if reply.failure:
            headers |= {"Content-Type": "application/json", "retry-after-ms": str(reply.failure.retry_after_ms)}
            return Answer(reply.failure.status, json.dumps(wire.failure(reply.failure)).encode(), headers)
        if model_request.body.get("stream"):
            headers["Content-Type"] = "text/event-stream"
            return Answer(200, headers=headers, stream=self._timed(reply, wire.stream(reply, model_request.body)))
        headers["Content-Type"] = "application/json"
        if reply.hold:
            self.wait(reply.hold)
        body = json.dumps(wire.whole(reply, model_request.body)).encode()
        return Answer(200, body, headers, cut_after_bytes=None if reply.cut_after is None else len(body) // 2)

    def _timed(self, reply: Reply, pieces: Iterator[Piece]) -> Iterator[bytes]:
        """Yield the pieces of a stream, hold it and cut it where the reply says so."""
        passed = 0
        if reply.cut_after == 0:
            raise Cut
        for piece in pieces:
            yield piece.data
            passed += piece.counts
            if piece.counts and reply.hold and passed == reply.hold_after:
                self.wait(reply.hold)
            if piece.counts and passed == reply.cut_after:
                raise Cut


def _unscripted(request: ModelRequest) -> Reply:
    return fail(400, f"no scripted reply is left for {request.path}")
