"""Rows as the journal holds them, made by hand: one of each kind, with everything that a row can say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langfuse_integration.encoding import otlp
from langfuse_integration.encoding.row import SCOPE

STARTED_NS = 1_800_000_000_000_000_000
SESSION = {
    "session.id": "chat-1",
    "user.id": "alice",
    "gen_ai.conversation.id": "chat-1",
    "langfuse.trace.tags": ["beta"],
    "langfuse.trace.metadata.tenant": "north",
}
TOOLS = [
    {"type": "function", "function": {"name": "search", "description": "Search.", "parameters": {"type": "object"}}},
    {"name": "read", "input_schema": {"type": "object"}},
]
CALL = {"name": "search", "args": {"query": "hay"}, "id": "call_1", "type": "tool_call"}


def body(kind: str, name: str, entries: Mapping[str, Any], *, scope: str = SCOPE, session: bool = True) -> bytes:
    """Return a row; entries are attributes below `langfuse.observation.`, or whole names; values become JSON."""
    attributes = {**(SESSION if session else {}), "langfuse.observation.type": kind}
    for key, value in entries.items():
        whole = key if key.startswith(("langfuse", "gen_ai", "session", "custom")) else f"langfuse.observation.{key}"
        attributes[whole] = value if isinstance(value, (str, bool, int, float)) else json.dumps(value)
    failed = attributes.get("langfuse.observation.level") == "ERROR"
    message = str(attributes.get("langfuse.observation.status_message", ""))
    parts = [
        otlp.ids(1, 2, 0),
        otlp.field(otlp.NAME, name.encode()),
        otlp.times(1, STARTED_NS, STARTED_NS + 1_000_000_000),
        otlp.status(2, message) if failed else b"",
    ]
    size = sum(map(len, parts)) + otlp.put(parts, otlp.ATTRIBUTE, attributes)
    resource = otlp.field(b"\x0a", otlp.attributes_field(otlp.RESOURCE_ATTRIBUTE, {"service.name": "app"}))
    return otlp.request(resource, otlp.scope_field(scope, ""), parts, size)


GENERATION = {
    "input": {
        "messages": [
            {"role": "system", "content": "Answer shortly."},
            {"role": "user", "content": "What do llamas eat?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "Hay.", "tool_call_id": "call_1"},
        ],
        "tools": TOOLS,
    },
    "output": {"role": "assistant", "content": "Hay, mostly.", "tool_calls": [{**CALL, "id": "call_2"}]},
    "model.name": "claude-sonnet-4-5",
    "model.parameters": {
        "temperature": 0.2, "top_p": 0.9, "top_k": 40, "frequency_penalty": 0.1, "presence_penalty": 0.3,
        "max_tokens": 100, "seed": 7, "stop": ["END"], "n": 2, "response_format": {"type": "json_schema"},
    },
    "usage_details": {
        "input": 10, "input_cached_tokens": 5, "input_cache_creation": 3, "input_audio_tokens": 2, "output": 8,
        "output_reasoning_tokens": 4, "output_audio_tokens": 1,
    },
    "cost_details": {"input": 0.01, "input_cached_tokens": 0.002, "output": 0.02, "total": 0.032},
    "completion_start_time": "2027-01-15T08:00:00.250000Z",
    "metadata.ls_provider": "anthropic",
    "metadata.finish_reason": "tool_use",
    "metadata.response_id": "0123",
    "metadata.agent_name": "librarian",
    "metadata.step_type": "think",
}  # fmt: skip
ROWS = {
    "generation": body("generation", "ChatAnthropic", GENERATION),
    "text": body(
        "generation", "OpenAI", {"input": "Once", "output": "upon a time", "model.name": "davinci-002"}
    ),
    "failed": body(
        "generation", "ChatOpenAI",
        {"input": {"messages": [{"role": "user", "content": "?"}]}, "output": "RateLimitError: slow down",
         "level": "ERROR", "status_message": "RateLimitError: slow down", "model.name": "gpt-4o",
         "cost_details": {"total": 0}},
    ),
    "embedding": body(
        "embedding", "OpenAIEmbedding",
        {"input": ["llama", "alpaca"], "output": {"embeddings": 2, "dimensions": 8}, "model.name": "text-embedding-3",
         "model.parameters": {"encoding_format": "float"}, "usage_details": {"input": 4},
         "langfuse_integration.beside": {"ls_provider": "openai"}},
    ),
    "agent": body(
        "agent", "librarian",
        {"input": {"messages": [{"role": "user", "content": "Hi"}]},
         "output": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}},
    ),
    "plan": body("agent", "think", {"input": "a", "output": "b", "metadata.step_type": "think"}),
    "tool": body(
        "tool", "search",
        {"input": {"query": "hay"}, "output": "Hay.", "metadata.tool_call_id": "123456", "metadata.agent_name": "x"},
    ),
    "mcp": body(
        "tool", "llama-mcp.search",
        {"input": {"query": "hay"}, "output": "Hay.", "metadata.mcp_server": "llama-mcp", "metadata.mcp_tool": "search",
         "metadata.mcp_method": "tools/call", "metadata.mcp_protocol_version": "2025-11-25",
         "metadata.mcp_transport": "http",
         "langfuse_integration.beside": {"jsonrpc.request.id": "3", "mcp.session.id": "f00d"}},
    ),
    "mcp failed": body(
        "tool", "llama-mcp.search",
        {"input": {}, "level": "ERROR", "status_message": "Unknown tool", "metadata.mcp_method": "tools/call",
         "metadata.mcp_tool": "search", "metadata.mcp_error_type": "-32602", "metadata.mcp_transport": "stdio"},
    ),
    "mcp question": body(
        "span", "llama-mcp.sampling", {"metadata.mcp_server": "llama-mcp", "metadata.mcp_method": "sampling"}
    ),
    "resource": body(
        "tool", "llama-mcp.read", {"metadata.mcp_method": "resources/read", "metadata.mcp_resource": "file:///a.md"}
    ),
    "prompt": body(
        "tool", "llama-mcp.prompt", {"metadata.mcp_method": "prompts/get", "metadata.mcp_prompt": "greeting"}
    ),
    "retriever": body(
        "retriever", "VectorStore",
        {"input": "llama food",
         "output": [{"text": "Hay", "score": 0.5, "id": "d1", "metadata": {"source": "a"}}, {"page_content": "Grass"}]},
    ),
    "guardrail": body("guardrail", "no harm", {"input": "a", "output": True}),
    "span": body("span", "question", {"input": "What?", "output": {"answer": "Hay"}}),
}  # fmt: skip
