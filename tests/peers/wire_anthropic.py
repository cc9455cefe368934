"""The wire format of Anthropic's messages, plain and streamed (API version 2023-06-01, anthropic 2.12)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from peers.replies import Failure, Piece, Reply, Usage, halves, words

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def failure(problem: Failure) -> dict[str, Any]:
    """Return the body of an error."""
    kind = ERROR_TYPES.get(problem.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}, "request_id": "req_1"}


def message(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    """Return a whole message."""
    return _message(reply, request, _blocks(reply), _stop_reason(reply), _usage(reply.usage))


def message_stream(reply: Reply, request: dict[str, Any]) -> Iterator[Piece]:
    """Yield a streamed message: blocks open, grow by deltas and close; the usage at the end is cumulative."""
    started = _message(reply, request, [], None, {**_usage(reply.usage), "output_tokens": 1})
    yield _event("message_start", message=started)
    yield _event("ping")
    for index, block in enumerate(_blocks(reply)):
        empty, deltas = _unrolled(block)
        yield _event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta, counts=delta["type"] != "signature_delta")
        yield _event("content_block_stop", index=index)
    delta = {"stop_reason": _stop_reason(reply), "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage=_delta_usage(reply.usage))
    yield _event("message_stop")


def _message(
    reply: Reply, request: dict[str, Any], content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": reply.model or request["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _blocks(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": "c2lnbmVk"})
    if reply.text or reply.refusal:
        blocks.append({"type": "text", "text": reply.text or reply.refusal})
    uses = [{"id": call.id, "name": call.name, "input": dict(call.arguments)} for call in reply.tool_calls]
    return [*blocks, *({"type": "tool_use", **use} for use in uses)]


def _unrolled(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as it opens, and the deltas that fill it."""
    match block["type"]:
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": word} for word in words(block["thinking"])]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signature]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in words(block["text"])]
        case _:
            pieces = halves(json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _stop_reason(reply: Reply) -> str:
    if reply.finish:
        return reply.finish
    return "refusal" if reply.refusal else "tool_use" if reply.tool_calls else "end_turn"


def _usage(usage: Usage) -> dict[str, Any]:
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    written = {"ephemeral_5m_input_tokens": usage.cache_write_tokens, "ephemeral_1h_input_tokens": 0}
    body: dict[str, Any] = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": written,
        "output_tokens": usage.output_tokens,
        "service_tier": "standard",
    }
    if usage.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body


def _delta_usage(usage: Usage) -> dict[str, Any]:
    absent = {"cache_creation", "service_tier"}
    return {name: value for name, value in _usage(usage).items() if name not in absent}


def _event(kind: str, *, counts: bool = False, **body: Any) -> Piece:
    return Piece(f"event: {kind}\ndata: {json.dumps({'type': kind, **body})}\n\n".encode(), counts)
