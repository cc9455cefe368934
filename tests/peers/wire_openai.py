"""The wire formats of OpenAI: chat completions and responses, plain and streamed (API of 2026, openai 2.54)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from peers.replies import Failure, Piece, Reply, Usage, halves, words

CREATED = 1_767_225_600
ERROR_TYPES = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


def failure(problem: Failure) -> dict[str, Any]:
    """Return the body of an error."""
    kind = ERROR_TYPES.get(problem.status, "server_error")
    return {"error": {"message": problem.message, "type": kind, "param": None, "code": None}}


# --- chat completions ------------------------------------------------------------------------------------------------


def completion(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    """Return a whole chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal}
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
            for call in reply.tool_calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return {**_envelope(reply, request, "chat.completion"), "choices": [choice], "usage": _usage(reply.usage)}


def completion_stream(reply: Reply, request: dict[str, Any]) -> Iterator[Piece]:
    """Yield a streamed chat completion, with a usage chunk if the request asks for one."""
    options: dict[str, Any] = request.get("stream_options") or {}
    with_usage = options.get("include_usage") is True

    def chunk(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None, *, counts: bool = False) -> Piece:
        body = {**_envelope(reply, request, "chat.completion.chunk"), "choices": choices}
        return _data({**body, "usage": usage} if with_usage else body, counts=counts)

    def delta(change: dict[str, Any], finish: str | None = None, *, counts: bool = True) -> Piece:
        return chunk([{"index": 0, "delta": change, "logprobs": None, "finish_reason": finish}], counts=counts)

    yield delta({"role": "assistant", "content": "", "refusal": None}, counts=False)
    for word in words(reply.text):
        yield delta({"content": word})
    for word in words(reply.refusal or ""):
        yield delta({"refusal": word})
    for index, call in enumerate(reply.tool_calls):
        first, second = halves(call.arguments_json)
        function = {"name": call.name, "arguments": first}
        yield delta({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})
        yield delta({"tool_calls": [{"index": index, "function": {"arguments": second}}]})
    yield delta({}, _finish(reply), counts=False)
    if with_usage:
        yield chunk([], _usage(reply.usage))
    yield Piece(b"data: [DONE]\n\n")


def _envelope(reply: Reply, request: dict[str, Any], kind: str) -> dict[str, Any]:
    model = reply.model or request["model"]
    return {"id": "chatcmpl-1", "object": kind, "created": CREATED, "model": model, "system_fingerprint": "fp_peer"}


def _finish(reply: Reply) -> str:
    return reply.finish or ("tool_calls" if reply.tool_calls else "stop")


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


# --- responses -------------------------------------------------------------------------------------------------------


def response(reply: Reply, request: dict[str, Any]) -> dict[str, Any]:
    """Return a whole response."""
    return _response(reply, request, "completed", _items(reply), _response_usage(reply.usage))


def response_stream(reply: Reply, request: dict[str, Any]) -> Iterator[Piece]:
    """Yield a streamed response: items open, grow by deltas and close."""
    number = 0

    def event(kind: str, **body: Any) -> Piece:
        nonlocal number
        number += 1
        body = {"type": kind, "sequence_number": number - 1, **body}
        return _data(body, name=kind, counts=kind.endswith(".delta"))

    opened = _response(reply, request, "in_progress", [], None)
    yield event("response.created", response=opened)
    yield event("response.in_progress", response=opened)
    for index, item in enumerate(_items(reply)):
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            [part] = item["content"]
            field = "text" if part["type"] == "output_text" else "refusal"
            kind = "response.output_text" if field == "text" else "response.refusal"
            more: dict[str, Any] = {"logprobs": []} if field == "text" else {}
            empty: dict[str, Any] = {**item, "status": "in_progress", "content": []}
            yield event("response.output_item.added", output_index=index, item=empty)
            yield event("response.content_part.added", **at, content_index=0, part={**part, field: ""})
            for word in words(part[field]):
                yield event(f"{kind}.delta", **at, content_index=0, delta=word, **more)
            yield event(f"{kind}.done", **at, content_index=0, **{field: part[field]}, **more)
            yield event("response.content_part.done", **at, content_index=0, part=part)
        elif item["type"] == "reasoning":
            [summary] = item["summary"]
            where = {**at, "summary_index": 0}
            yield event("response.output_item.added", output_index=index, item={**item, "summary": []})
            yield event("response.reasoning_summary_part.added", **where, part={**summary, "text": ""})
            for word in words(summary["text"]):
                yield event("response.reasoning_summary_text.delta", **where, delta=word)
            yield event("response.reasoning_summary_text.done", **where, text=summary["text"])
            yield event("response.reasoning_summary_part.done", **where, part=summary)
        else:
            started = {**item, "status": "in_progress", "arguments": ""}
            yield event("response.output_item.added", output_index=index, item=started)
            for half in halves(item["arguments"]):
                yield event("response.function_call_arguments.delta", **at, delta=half)
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield event("response.function_call_arguments.done", **at, **done)
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=response(reply, request))


def _response(
    reply: Reply, request: dict[str, Any], status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": reply.model or request["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "top_p": 1.0,
        "usage": usage,
    }


def _items(reply: Reply) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        items.append({"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": None})
    if reply.text or reply.refusal:
        part: dict[str, Any] = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        if reply.refusal:
            part = {"type": "refusal", "refusal": reply.refusal}
        message = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
        items.append({**message, "content": [part]})
    for index, call in enumerate(reply.tool_calls):
        named = {"name": call.name, "arguments": call.arguments_json, "call_id": call.id}
        items.append({"id": f"fc_{index}", "type": "function_call", "status": "completed", **named})
    return items


def _response_usage(usage: Usage) -> dict[str, Any]:
    inputs = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": inputs,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _data(body: dict[str, Any], *, name: str | None = None, counts: bool = False) -> Piece:
    head = f"event: {name}\n" if name else ""
    return Piece(f"{head}data: {json.dumps(body)}\n\n".encode(), counts)
