"""OpenInference's conventions, which Phoenix and others read (openinference-semantic-conventions 0.1.42).

Lists are flattened: `llm.input_messages.0.message.role`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..messages import ChatMessage
from .documents import documents_of
from .genai import answers_of
from .reading import Pair, Reader, TranslatedRow, to_json

KINDS = {
    "generation": "LLM", "embedding": "EMBEDDING", "agent": "AGENT", "tool": "TOOL", "retriever": "RETRIEVER",
    "guardrail": "GUARDRAIL", "evaluator": "EVALUATOR",
}  # fmt: skip
"""The span kinds of Langfuse's types; any other is a CHAIN."""
PROVIDERS = {
    "openai": "openai", "azure": "azure", "azure_openai": "azure", "azure_ai": "azure", "anthropic": "anthropic",
    "google_genai": "google", "google_vertexai": "google", "amazon_bedrock": "aws", "bedrock": "aws",
    "bedrock_converse": "aws", "cohere": "cohere", "mistral": "mistralai", "mistralai": "mistralai", "groq": "groq",
    "deepseek": "deepseek", "xai": "xai", "perplexity": "perplexity", "fireworks": "fireworks",
    "together": "together", "ollama": "ollama",
}  # fmt: skip
"""What LangChain calls a provider, and what OpenInference calls it; others are left out."""
SYSTEMS = {"openai": "openai", "azure": "openai", "azure_openai": "openai", "anthropic": "anthropic",
           "cohere": "cohere", "mistral": "mistralai", "mistralai": "mistralai", "google_vertexai": "vertexai",
           }  # fmt: skip
COST = (("llm.cost.prompt", "input"), ("llm.cost.completion", "output"))
MAX_LISTED = 200
"""The most messages, documents or tools that are written out; servers limit the attributes of a span."""


def kind_of(row: TranslatedRow) -> str:
    """Return OpenInference's kind of a row; that of a planning agent is CHAIN, since no agent is invoked."""
    return "CHAIN" if row.type == "agent" and row.is_think else KINDS.get(row.type, "CHAIN")


def _kind(row: TranslatedRow) -> Iterator[Pair]:
    yield "openinference.span.kind", kind_of(row)


def _values(row: TranslatedRow) -> Iterator[Pair]:
    for side, text in (("input", row.input_text), ("output", row.output_text)):
        if text is not None:
            yield f"{side}.value", text
            yield f"{side}.mime_type", "application/json" if _is_json(text) else "text/plain"


def _model(row: TranslatedRow) -> Iterator[Pair]:
    if row.type == "embedding":
        yield "embedding.model_name", row.model
        if row.model_parameters:
            yield "embedding.invocation_parameters", to_json(row.model_parameters)
    if row.type != "generation":
        return
    yield "llm.model_name", row.model
    yield "llm.request.model_name", row.asked_model
    if row.content_out is not None or row.usage:
        yield "llm.response.model_name", row.model
    provider = row.provider or ""
    yield "llm.provider", PROVIDERS.get(provider)
    yield "llm.system", SYSTEMS.get(provider)
    if row.model_parameters:
        yield "llm.invocation_parameters", to_json(row.model_parameters)
    reason = row.metadata.get("finish_reason")
    yield "llm.finish_reason", str(reason) if reason else None


def _tokens(row: TranslatedRow) -> Iterator[Pair]:
    if not row.is_model_call:
        return
    tokens = row.tokens
    yield "llm.token_count.prompt", tokens.input
    yield "llm.token_count.completion", tokens.output
    if tokens.input is not None or tokens.output is not None:
        yield "llm.token_count.total", (tokens.input or 0) + (tokens.output or 0)
    yield "llm.token_count.prompt_details.cache_read", tokens.cached
    yield "llm.token_count.prompt_details.cache_write", tokens.written
    yield "llm.token_count.prompt_details.audio", tokens.input_audio
    yield "llm.token_count.completion_details.reasoning", tokens.reasoning
    yield "llm.token_count.completion_details.audio", tokens.output_audio


def _cost(row: TranslatedRow) -> Iterator[Pair]:
    cost = {name: float(value) for name, value in row.cost.items() if isinstance(value, (int, float))}
    if not row.is_model_call or not cost or (row.level == "ERROR" and cost == {"total": 0.0}):
        return
    for key, side in COST:
        parts = [value for name, value in cost.items() if name == side or name.startswith(side + "_")]
        yield key, sum(parts) if parts else None
    yield "llm.cost.total", cost.get("total", sum(cost.values()))


def _messages(row: TranslatedRow) -> Iterator[Pair]:
    if row.type == "generation":
        yield from _listed("llm.input_messages", row.messages_in)
        yield from _listed("llm.output_messages", answers_of(row))


def _tools(row: TranslatedRow) -> Iterator[Pair]:
    for place, tool in enumerate(row.tools[:MAX_LISTED]):
        yield f"llm.tools.{place}.tool.json_schema", to_json(tool.plain)


def _tool(row: TranslatedRow) -> Iterator[Pair]:
    if row.is_tool_call:
        yield "tool.name", row.tool_name
        call_id = row.metadata.get("tool_call_id")
        yield "tool.id", str(call_id) if call_id else None


def _agent(row: TranslatedRow) -> Iterator[Pair]:
    yield "agent.name", row.agent_name if row.type == "agent" else None


def _documents(row: TranslatedRow) -> Iterator[Pair]:
    if row.type != "retriever":
        return
    for place, document in documents_of(row)[:MAX_LISTED]:
        head = f"retrieval.documents.{place}.document"
        text = document.get("text", document.get("page_content"))
        yield f"{head}.content", text if isinstance(text, str) else None
        identity = document.get("id")
        yield f"{head}.id", str(identity) if identity else None
        score = document.get("score")
        yield f"{head}.score", float(score) if isinstance(score, (int, float)) else None
        metadata = document.get("metadata")
        yield f"{head}.metadata", to_json(metadata) if metadata else None


def _embeddings(row: TranslatedRow) -> Iterator[Pair]:
    if row.type != "embedding":
        return
    content = row.content_in
    texts: list[Any] = content if isinstance(content, list) else [content]
    for place, text in enumerate(texts[:MAX_LISTED]):
        if isinstance(text, str):
            yield f"embedding.embeddings.{place}.embedding.text", text


def _context(row: TranslatedRow) -> Iterator[Pair]:
    yield "session.id", row.session_id
    yield "user.id", row.user_id
    tags = row.attributes.get("langfuse.trace.tags")
    yield "tag.tags", tags or None
    metadata = {**row.trace_metadata, **row.metadata}
    yield "metadata", to_json(metadata) if metadata else None


READERS: tuple[Reader, ...] = (
    _kind, _values, _model, _tokens, _cost, _messages, _tools, _tool, _agent, _documents, _embeddings, _context,
)  # fmt: skip


# -- values


def _listed(key: str, messages: Iterable[ChatMessage]) -> Iterator[Pair]:
    for place, message in enumerate(list(messages)[:MAX_LISTED]):
        head = f"{key}.{place}.message"
        yield f"{head}.role", message.role
        yield f"{head}.content", message.text or None
        yield f"{head}.tool_call_id", message.call_id
        for number, call in enumerate(message.calls):
            inner = f"{head}.tool_calls.{number}.tool_call"
            yield f"{inner}.id", call.id
            yield f"{inner}.function.name", call.name
            arguments = call.arguments
            yield f"{inner}.function.arguments", arguments if isinstance(arguments, str) else to_json(arguments)


def _is_json(text: str) -> bool:
    if text[:1] not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(text), (list, Mapping))
    except ValueError:
        return False
