"""Servers on a local port that answer in the formats of Gemini, Ollama, Bedrock and Mistral, for the real clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from peers.server import Answer, LocalServer, Request

CITIES = ("Rome", "Oslo")
WEATHER = "lookup"
TEXT = "Alpacas hum."


class ProviderServer(LocalServer):
    """Answers each request by *reply*, which gets whether tools may be called and whether a stream is asked for.

    Attributes:
        requests: the bodies that came.
    """

    def __init__(self, reply: Callable[[bool, bool], Answer]) -> None:
        self._reply = reply
        self.requests: list[dict[str, Any]] = []
        super().__init__()

    def answer(self, request: Request) -> Answer:
        """Answer with two tool calls where tools are offered and no result is there yet, else with a text."""
        body = json.loads(request.body) if request.body else {}
        self.requests.append(body)
        text = json.dumps(body)
        answered = any(mark in text for mark in ('"functionResponse"', '"toolResult"', '"role": "tool"'))
        offered = bool(body.get("tools") or body.get("toolConfig"))
        streamed = bool(body.get("stream")) or "streamGenerate" in request.path
        return self._reply(offered and not answered, streamed)


def _whole(value: Any) -> Answer:
    body = json.dumps(value).encode()
    return Answer(200, body, {"Content-Type": "application/json", "Connection": "close"})


def _events(values: list[Any], prefix: bytes = b"data: ", end: bytes = b"\n\n") -> Answer:
    def pieces() -> Iterator[bytes]:
        for value in values:
            yield prefix + json.dumps(value).encode() + end

    kind = "text/event-stream" if prefix else "application/x-ndjson"
    return Answer(200, headers={"Content-Type": kind, "Connection": "close"}, stream=pieces())


def gemini(with_calls: bool, streamed: bool) -> Answer:
    """Google's generateContent, as Vertex AI answers: calls have no id."""
    parts: list[Any] = [{"text": TEXT}]
    if with_calls:
        parts = [{"functionCall": {"name": WEATHER, "args": {"city": city}}} for city in CITIES]
    counts = {"promptTokenCount": 60, "candidatesTokenCount": 20, "totalTokenCount": 80}
    whole = {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": counts,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "response-1",
    }
    return _events([whole]) if streamed else _whole(whole)


def ollama(with_calls: bool, streamed: bool) -> Answer:
    """Ollama's chat: calls have no id."""
    message: dict[str, Any] = {"role": "assistant", "content": "" if with_calls else TEXT}
    if with_calls:
        message["tool_calls"] = [{"function": {"name": WEATHER, "arguments": {"city": city}}} for city in CITIES]
    counts = {"prompt_eval_count": 60, "eval_count": 20, "done": True, "done_reason": "stop"}
    whole = {"model": "llama3.1", "created_at": "2026-11-28T12:00:00Z", "message": message, **counts}
    return _events([whole], b"", b"\n") if streamed else _whole(whole)


def bedrock(with_calls: bool, streamed: bool) -> Answer:
    """Bedrock's Converse."""
    content: list[Any] = [{"text": TEXT}]
    if with_calls:
        uses = [(f"t{index}", city) for index, city in enumerate(CITIES)]
        content = [{"toolUse": {"toolUseId": id_, "name": WEATHER, "input": {"city": city}}} for id_, city in uses]
    return _whole(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use" if with_calls else "end_turn",
            "usage": {"inputTokens": 60, "outputTokens": 20, "totalTokens": 80},
            "metrics": {"latencyMs": 1},
        }
    )


def mistral(with_calls: bool, streamed: bool) -> Answer:
    """Mistral's chat completions."""
    message: dict[str, Any] = {"role": "assistant", "content": "" if with_calls else TEXT}
    if with_calls:
        uses = [
            (f"m{index}", {"name": WEATHER, "arguments": json.dumps({"city": city})})
            for index, city in enumerate(CITIES)
        ]
        message["tool_calls"] = [{"id": id_, "type": "function", "function": function} for id_, function in uses]
    finish = "tool_calls" if with_calls else "stop"
    counts = {"prompt_tokens": 60, "completion_tokens": 20, "total_tokens": 80}
    head = {"id": "cmpl-1", "created": 1, "model": "mistral-large-2411", "usage": counts}
    if streamed:
        chunk = {
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": message, "finish_reason": finish}],
        }
        return _events([{**head, **chunk}])
    return _whole(
        {**head, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    )
