"""OpenTelemetry's conventions for generative AI: semantic-conventions-genai v0.1.0 (all of it in development).

Model calls, embeddings, tools, agents, plans and retrievals. MCP has a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from ..content import failure_of
from ..messages import ChatMessage
from ..observed import METADATA
from .documents import documents_of, query_of
from .reading import Pair, Reader, TranslatedRow, to_json

CLIENT, INTERNAL = 3, 1
"""`Span.SPAN_KIND_CLIENT` and `SPAN_KIND_INTERNAL`."""
PROVIDERS = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "anthropic": "anthropic",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "google_anthropic_vertex": "gcp.vertex_ai",
    "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere": "cohere",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "groq": "groq",
    "deepseek": "deepseek",
    "xai": "x_ai",
    "perplexity": "perplexity",
    "ibm": "ibm.watsonx.ai",
    "watsonx": "ibm.watsonx.ai",
}
"""What LangChain calls a provider, and what the conventions call it; others keep their name."""
APART = frozenset({"anthropic", "aws.bedrock", "gcp.gemini", "gcp.vertex_ai"})
"""Providers that take system instructions apart from the messages."""
FINISH_REASONS = {
    "stop": "stop", "end_turn": "stop", "stop_sequence": "stop", "complete": "stop", "completed": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "incomplete": "length",
    "tool_calls": "tool_call", "tool_call": "tool_call", "tool_use": "tool_call", "function_call": "tool_call",
    "content_filter": "content_filter", "safety": "content_filter", "refusal": "content_filter", "error": "error",
}  # fmt: skip
"""What providers call the end of an answer, in lower case, and what the parts of a message call it."""
PARAMETERS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "gen_ai.request.temperature": (float, ("temperature",)),
    "gen_ai.request.top_p": (float, ("top_p", "topP")),
    "gen_ai.request.top_k": (int, ("top_k", "topK")),
    "gen_ai.request.frequency_penalty": (float, ("frequency_penalty", "frequencyPenalty")),
    "gen_ai.request.presence_penalty": (float, ("presence_penalty", "presencePenalty")),
    "gen_ai.request.max_tokens": (
        int,
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "maxOutputTokens", "num_predict"),
    ),
    "gen_ai.request.seed": (int, ("seed", "random_seed")),
}
"""Numbers among the parameters of a model, and the names that providers have for them."""


def operation_of(row: TranslatedRow) -> str | None:
    """Return the operation's name; None for a row that is none of the conventions' operations."""
    if row.type == "generation":
        return "chat" if not isinstance(row.content_in, str) or row.tools else "text_completion"
    if row.type == "agent":
        return "plan" if row.is_think else "invoke_agent"
    if row.is_tool_call:
        return "execute_tool"
    return {"embedding": "embeddings", "retriever": "retrieval"}.get(row.type)


def name_of(row: TranslatedRow) -> str | None:
    """Return the span's name by the conventions: the operation and what it works on; None keeps the row's name."""
    operation = operation_of(row)
    if operation is None:
        return None
    subject = {
        "execute_tool": row.tool_name,
        "invoke_agent": row.agent_name,
        "plan": row.agent_name,
        "retrieval": row.own_name,
    }.get(operation, row.asked_model)
    return f"{operation} {subject}" if subject else operation


def kind_of(row: TranslatedRow) -> int:
    """Return the span's kind: calls to a model or a store leave the process, all else happens in it."""
    return CLIENT if row.type in ("generation", "embedding", "retriever") else INTERNAL


# -- readers


def _operation(row: TranslatedRow) -> Iterator[Pair]:
    yield "gen_ai.operation.name", operation_of(row)
    if row.session_id is not None:
        yield "gen_ai.conversation.id", row.session_id


def _provider(row: TranslatedRow) -> Iterator[Pair]:
    yield "gen_ai.provider.name", provider_of(row)


def provider_of(row: TranslatedRow) -> str | None:
    """Return the provider by the conventions' name, or None where no row says who it was."""
    provider = row.provider
    return PROVIDERS.get(provider, provider) if provider else None


def _model(row: TranslatedRow) -> Iterator[Pair]:
    if row.is_model_call and row.model:
        yield "gen_ai.request.model", row.asked_model
        if row.content_out is not None or row.usage:
            yield "gen_ai.response.model", row.model


def _parameters(row: TranslatedRow) -> Iterator[Pair]:
    for key, (kind, names) in PARAMETERS.items():
        value = row.parameter(*names)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key, kind(value)
    stop = row.parameter("stop", "stop_sequences", "stopSequences")
    if stop:
        yield "gen_ai.request.stop_sequences", _texts(stop)
    count = row.parameter("n", "candidate_count", "num_generations")
    if isinstance(count, int) and count != 1:
        yield "gen_ai.request.choice.count", count
    if row.parameter("stream", "streaming") is True or row.first_token is not None:
        yield "gen_ai.request.stream", True
    formats = row.parameter("encoding_format")
    if row.type == "embedding" and formats:
        yield "gen_ai.request.encoding_formats", _texts(formats)
    wanted = row.parameter("response_format")
    wanted = cast("Mapping[str, Any]", wanted).get("type") if isinstance(wanted, Mapping) else wanted
    if wanted in ("json_object", "json_schema", "text"):
        yield "gen_ai.output.type", "text" if wanted == "text" else "json"


def _usage(row: TranslatedRow) -> Iterator[Pair]:
    if not row.is_model_call:
        return
    tokens = row.tokens
    yield "gen_ai.usage.input_tokens", tokens.input
    yield "gen_ai.usage.output_tokens", tokens.output if row.type == "generation" else None
    yield "gen_ai.usage.cache_read.input_tokens", tokens.cached
    yield "gen_ai.usage.cache_creation.input_tokens", tokens.written
    yield "gen_ai.usage.reasoning.output_tokens", tokens.reasoning


def _answer(row: TranslatedRow) -> Iterator[Pair]:
    if row.type != "generation":
        return
    yield "gen_ai.response.id", row.attributes.get(METADATA + "response_id")
    reason = row.metadata.get("finish_reason")
    if reason:
        yield "gen_ai.response.finish_reasons", _texts(reason)
    if row.first_token is not None:
        began_s = datetime.fromisoformat(row.first_token).timestamp()
        yield "gen_ai.response.time_to_first_chunk", round(max(began_s - row.started_ns / 1e9, 0.0), 6)


def _embeddings(row: TranslatedRow) -> Iterator[Pair]:
    if row.type == "embedding" and isinstance(row.content_out, Mapping):
        dimensions = cast("Mapping[str, Any]", row.content_out).get("dimensions")
        yield "gen_ai.embeddings.dimension.count", dimensions if isinstance(dimensions, int) else None


def _messages(row: TranslatedRow) -> Iterator[Pair]:
    if row.type not in ("generation", "agent"):
        return
    messages = row.messages_in
    if row.type == "generation":
        apart = [message for message in messages if message.role == "system"]
        if apart and provider_of(row) in APART:
            messages = [message for message in messages if message.role != "system"]
            parts = [{"type": "text", "content": message.text} for message in apart]
            yield "gen_ai.system_instructions", to_json(parts)
    if messages:
        yield "gen_ai.input.messages", to_json([_plain(message) for message in messages])
    answers = answers_of(row)
    if answers:
        reason = row.metadata.get("finish_reason")
        finish = FINISH_REASONS.get(str(reason).lower(), str(reason)) if reason else None
        plain = [_plain(message) for message in answers]
        for message in plain:
            message["finish_reason"] = finish or ("tool_call" if _calls(message) else "stop")
        yield "gen_ai.output.messages", to_json(plain)


def answers_of(row: TranslatedRow) -> list[ChatMessage]:
    """Return what a model answered, or the last answer of an agent: its output repeats the whole conversation."""
    answers = row.messages_out
    if row.type == "agent" and len(answers) > 1:
        own = [message for message in answers if message.role == "assistant"]
        return own[-1:] or answers[-1:]
    return answers


def _tools(row: TranslatedRow) -> Iterator[Pair]:
    if row.tools:
        yield (
            "gen_ai.tool.definitions",
            to_json(
                [
                    {
                        "type": "function",
                        "name": tool.name,
                        **({"description": tool.description} if tool.description else {}),
                        **({"parameters": tool.schema} if tool.schema is not None else {}),
                    }
                    for tool in row.tools
                ]
            ),
        )


def _tool(row: TranslatedRow) -> Iterator[Pair]:
    if not row.is_tool_call:
        return
    yield "gen_ai.tool.name", row.tool_name
    yield "gen_ai.tool.type", "extension" if row.metadata.get("mcp_method") else "function"
    call_id = row.metadata.get("tool_call_id")
    yield "gen_ai.tool.call.id", str(call_id) if call_id else None
    yield "gen_ai.tool.call.arguments", row.input_text
    if row.failure is None:
        yield "gen_ai.tool.call.result", row.output_text


def _agent(row: TranslatedRow) -> Iterator[Pair]:
    yield "gen_ai.agent.name", row.agent_name if operation_of(row) is not None else None


def _retrieval(row: TranslatedRow) -> Iterator[Pair]:
    if row.type != "retriever":
        return
    yield "gen_ai.retrieval.query.text", query_of(row)
    documents = documents_of(row)
    if documents:
        plain = [_document(document, place) for place, document in documents]
        yield "gen_ai.retrieval.documents", to_json(plain)


def _document(document: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return id and score of a document, as the conventions' schema has them: its content does not belong there."""
    score = document.get("score")
    return {"id": _id_of(document, place), **({"score": score} if score is not None else {})}


def _id_of(document: Mapping[str, Any], place: int) -> str:
    metadata = document.get("metadata")
    named = cast("Mapping[str, Any]", metadata) if isinstance(metadata, Mapping) else {}
    identity = document.get("id") or named.get("id") or document.get("source") or named.get("source")
    return str(identity) if identity else str(place)


def _error(row: TranslatedRow) -> Iterator[Pair]:
    if row.level == "ERROR":
        code = row.metadata.get("mcp_error_type")  # 0 is one, too
        yield "error.type", str(code) if code is not None else failure_of(row.failure or "") or "_OTHER"


READERS: tuple[Reader, ...] = (
    _operation, _provider, _model, _parameters, _usage, _answer, _embeddings, _messages, _tools, _tool, _agent,
    _retrieval, _error,
)  # fmt: skip


# -- values


def _texts(value: Any) -> list[str]:
    return [str(item) for item in cast("list[Any]", value)] if isinstance(value, (list, tuple)) else [str(value)]


def _plain(message: ChatMessage) -> dict[str, Any]:
    if message.role == "tool":
        part: dict[str, Any] = {"type": "tool_call_response", "response": message.text}
        if message.call_id:
            part["id"] = message.call_id
        return {"role": "tool", "parts": [part]}
    parts: list[dict[str, Any]] = [{"type": "text", "content": message.text}] if message.text else []
    for call in message.calls:
        part = {"type": "tool_call", "name": call.name, "arguments": call.arguments}
        parts.append({**part, "id": call.id} if call.id else part)
    return {"role": message.role, "parts": parts}


def _calls(message: Mapping[str, Any]) -> bool:
    parts: Iterable[Mapping[str, Any]] = message["parts"]
    return any(part["type"] == "tool_call" for part in parts)
