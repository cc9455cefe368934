"""The wire formats of Gemini, Ollama, Bedrock, Mistral and Cohere, plain and streamed, and a server that speaks one.

Every answer used 60 tokens of input, 40 of them from a cache where the format can say so, and 20 of output.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from peers.server import Answer, LocalServer, Request

CITIES = ("Rome", "Oslo")
WEATHER = "lookup"
TEXT = "Alpacas hum."
ANSWERED = ('"functionResponse"', '"toolResult"', '"role": "tool"', '"tool_results"')
"""What a request with the result of a tool call has in it, one for each format."""


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
        answered = any(mark in text for mark in ANSWERED)
        offered = bool(body.get("tools") or body.get("toolConfig"))
        streamed = bool(body.get("stream")) or "streamGenerate" in request.path or "converse-stream" in request.path
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
    counts = {
        "promptTokenCount": 60,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "totalTokenCount": 80,
    }
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
    """Bedrock's Converse, whose count of input tokens leaves out those of the cache."""
    usage = {"inputTokens": 20, "outputTokens": 20, "totalTokens": 80, "cacheReadInputTokens": 40}
    stop = "tool_use" if with_calls else "end_turn"
    uses = [(f"t{index}", city) for index, city in enumerate(CITIES)] if with_calls else []
    if streamed:
        return _bedrock_stream(uses, stop, usage)
    content: list[Any] = [
        {"toolUse": {"toolUseId": id_, "name": WEATHER, "input": {"city": city}}} for id_, city in uses
    ]
    return _whole(
        {
            "output": {"message": {"role": "assistant", "content": content or [{"text": TEXT}]}},
            "stopReason": stop,
            "usage": usage,
            "metrics": {"latencyMs": 1},
        }
    )


def _bedrock_stream(uses: list[tuple[str, str]], stop: str, usage: dict[str, int]) -> Answer:
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    for index, (id_, city) in enumerate(uses):
        start = {"toolUse": {"toolUseId": id_, "name": WEATHER}}
        events.append(("contentBlockStart", {"start": start, "contentBlockIndex": index}))
        for part in ('{"city": ', f'"{city}"}}'):
            delta = {"toolUse": {"input": part}}
            events.append(("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}))
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    if not uses:
        deltas = [{"delta": {"text": word}, "contentBlockIndex": 0} for word in ("Alpacas", " hum.")]
        events += [("contentBlockDelta", delta) for delta in deltas]
        events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    events += [("messageStop", {"stopReason": stop}), ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})]
    headers = {"Content-Type": "application/vnd.amazon.eventstream", "Connection": "close"}
    return Answer(200, headers=headers, stream=(_frame(kind, body) for kind, body in events))


def _frame(kind: str, body: Any) -> bytes:
    """Return an event in the binary framing of AWS: lengths, headers and payload, with two checksums."""
    payload = json.dumps(body).encode()
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in (
            (":event-type", kind), (":content-type", "application/json"), (":message-type", "event"),
        )
    )  # fmt: skip
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


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


def cohere(with_calls: bool, streamed: bool) -> Answer:
    """Cohere's chat, version 2."""
    plan = "I will look." if with_calls else ""
    made = [
        {"id": f"k{index}", "type": "function", "function": {"name": WEATHER, "arguments": json.dumps({"city": city})}}
        for index, city in enumerate(CITIES if with_calls else ())
    ]
    finish = "TOOL_CALL" if with_calls else "COMPLETE"
    counts = {"input_tokens": 60, "output_tokens": 20}
    usage = {"billed_units": counts, "tokens": counts, "cached_tokens": 40}
    if streamed:
        return _events(list(_cohere_events(plan, made, {"finish_reason": finish, "usage": usage})))
    message: dict[str, Any] = {"role": "assistant"}
    if with_calls:
        message |= {"tool_plan": plan, "tool_calls": made}
    else:
        message["content"] = [{"type": "text", "text": TEXT}]
    return _whole({"id": "cohere-1", "finish_reason": finish, "message": message, "usage": usage})


def _cohere_events(plan: str, made: list[dict[str, Any]], end: dict[str, Any]) -> Iterator[dict[str, Any]]:
    start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield {"type": "message-start", "id": "cohere-1", "delta": {"message": start}}
    if plan:
        yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": plan}}}
    for index, call in enumerate(made):
        arguments = call["function"]["arguments"]
        head = {**call, "function": {"name": WEATHER, "arguments": ""}}
        yield {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": head}}}
        for part in (arguments[:5], arguments[5:]):
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            yield {"type": "tool-call-delta", "index": index, "delta": delta}
        yield {"type": "tool-call-end", "index": index}
    if not made:
        content = {"type": "text", "text": ""}
        yield {"type": "content-start", "index": 0, "delta": {"message": {"content": content}}}
        for word in ("Alpacas", " hum."):
            yield {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}
        yield {"type": "content-end", "index": 0}
    yield {"type": "message-end", "id": "cohere-1", "delta": end}


def cohere1(with_calls: bool, streamed: bool) -> Answer:
    """Cohere's chat, version 1: calls have no id, and a stream ends with the whole answer."""
    made = [{"name": WEATHER, "parameters": {"city": city}} for city in (CITIES if with_calls else ())]
    counts = {"input_tokens": 60, "output_tokens": 20}
    whole: dict[str, Any] = {
        "text": "I will look." if with_calls else TEXT,
        "generation_id": "generation-1",
        "response_id": "cohere-1",
        "finish_reason": "COMPLETE",
        "chat_history": [{"role": "USER", "message": "What do alpacas do?"}],
        "meta": {"api_version": {"version": "1"}, "billed_units": counts, "tokens": counts, "cached_tokens": 40},
    }
    if made:
        whole["tool_calls"] = made
    if not streamed:
        return _whole(whole)
    events: list[Any] = [{"event_type": "stream-start", "generation_id": "generation-1", "is_finished": False}]
    if made:
        events.append({"event_type": "tool-calls-generation", "tool_calls": made, "is_finished": False})
    else:
        events += [{"event_type": "text-generation", "text": word} for word in ("Alpacas", " hum.")]
    end = {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": whole}
    return _events([*events, end], b"", b"\n")
