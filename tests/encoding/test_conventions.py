"""Rows for servers that are no Langfuse: attributes, names and kinds by the conventions, and nothing that is false."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from encoding_rows import GENERATION, ROWS, body
from langfuse_integration.destinations import CONVENTIONS
from langfuse_integration.encoding import otlp
from langfuse_integration.encoding.translation import Translation
from peers.spans import Span, decoded

EVERY = 8
"""The number of types of rows in the table."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "backends.md"


def translated(name_or_body: str | bytes, *conventions: str, capture: str = "full") -> Span:
    """Return a row as it goes to a destination."""
    row = ROWS[name_or_body] if isinstance(name_or_body, str) else name_or_body
    (span,) = decoded(Translation(conventions or CONVENTIONS, capture).translated(row))
    return span


def added(name_or_body: str | bytes, *conventions: str) -> dict[str, Any]:
    """Return the attributes that conventions add to a row."""
    before = decoded(Translation(()).translated(ROWS[name_or_body] if isinstance(name_or_body, str) else name_or_body))
    after = translated(name_or_body, *conventions)
    assert after.attributes.items() >= before[0].attributes.items()
    return {key: value for key, value in after.attributes.items() if key not in before[0].attributes}


def parts(attributes: dict[str, Any], key: str) -> Any:
    return json.loads(attributes[key])


# -- OpenTelemetry's GenAI conventions


@pytest.mark.parametrize(
    ("row", "operation", "name", "kind"),
    [
        ("generation", "chat", "chat claude-sonnet-4-5", "CLIENT"),
        ("text", "text_completion", "text_completion davinci-002", "CLIENT"),
        ("embedding", "embeddings", "embeddings text-embedding-3", "CLIENT"),
        ("agent", "invoke_agent", "invoke_agent librarian", "INTERNAL"),
        ("plan", "plan", "plan", "INTERNAL"),
        ("tool", "execute_tool", "execute_tool search", "INTERNAL"),
        ("mcp", "execute_tool", "tools/call search", "CLIENT"),
        ("mcp question", None, "sampling/createMessage", "SERVER"),
        ("resource", None, "resources/read", "CLIENT"),
        ("prompt", None, "prompts/get greeting", "CLIENT"),
        ("retriever", "retrieval", "retrieval VectorStore", "CLIENT"),
        ("guardrail", None, "no harm", "INTERNAL"),
        ("span", None, "question", "INTERNAL"),
    ],
)
def test_operations_names_and_kinds(row: str, operation: str | None, name: str, kind: str) -> None:
    """Each type of row is the operation of the conventions that it stands for, named and of the kind that they ask."""
    span = translated(row, "genai")
    assert span.attributes.get("gen_ai.operation.name") == operation
    assert (span.name, span.kind) == (name, kind)


def test_openinference_alone_leaves_name_and_kind() -> None:
    """OpenInference has no rule for names and kinds of spans."""
    span = translated("generation", "openinference")
    assert (span.name, span.kind) == ("ChatAnthropic", "INTERNAL")
    assert not [key for key in span.attributes if key.startswith("gen_ai.") and key != "gen_ai.conversation.id"]


def test_a_model_call_in_the_genai_conventions() -> None:
    """Provider, model, parameters, tokens as wholes and parts, finish reason and the time to the first chunk."""
    attributes = added("generation", "genai")
    messages = {key: attributes.pop(key) for key in list(attributes) if "messages" in key or "definitions" in key}
    assert len(messages) == 3
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5",
        "gen_ai.response.model": "claude-sonnet-4-5",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.3,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "json",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 13,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 4,
        "gen_ai.response.finish_reasons": ["tool_use"],
        "gen_ai.response.id": "0123",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.system_instructions": '[{"type":"text","content":"Answer shortly."}]',
        "gen_ai.agent.name": "librarian",
    }


def test_messages_are_parts() -> None:
    """Texts, tool calls and their results are parts of messages; an answer names its finish reason."""
    attributes = added("generation", "genai")
    assert parts(attributes, "gen_ai.input.messages") == [
        {"role": "user", "parts": [{"type": "text", "content": "What do llamas eat?"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "call_1", "name": "search", "arguments": {"query": "hay"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "call_1", "response": "Hay."}]},
    ]
    assert parts(attributes, "gen_ai.output.messages") == [
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "Hay, mostly."},
                {"type": "tool_call", "id": "call_2", "name": "search", "arguments": {"query": "hay"}},
            ],
            "finish_reason": "tool_call",
        }
    ]
    assert parts(attributes, "gen_ai.tool.definitions") == [
        {"type": "function", "name": "search", "description": "Search.", "parameters": {"type": "object"}},
        {"type": "function", "name": "read", "parameters": {"type": "object"}},
    ]


def test_system_messages_stay_among_the_messages_where_the_provider_has_them_there() -> None:
    """Instructions stand apart only for providers that take them apart."""
    row = body("generation", "ChatOpenAI", {**GENERATION, "metadata.ls_provider": "openai"})
    attributes = added(row, "genai")
    assert "gen_ai.system_instructions" not in attributes
    assert parts(attributes, "gen_ai.input.messages")[0]["role"] == "system"


def test_a_failed_model_call_names_its_error_and_no_answer() -> None:
    """A failed call has `error.type`, no answer, no model that answered, and no cost that nobody named."""
    attributes = added("failed")
    assert attributes["error.type"] == "RateLimitError"
    assert attributes["gen_ai.request.model"] == "gpt-4o"
    assert not attributes.keys() & {"gen_ai.response.model", "gen_ai.output.messages", "llm.cost.total"}
    assert not [key for key in attributes if key.startswith("llm.output_messages")]
    assert translated("failed").status == "ERROR"


def test_a_tool_call() -> None:
    """A tool has its name, the call's id, which stays text, its arguments and its result."""
    assert added("tool", "genai") == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "123456",
        "gen_ai.tool.call.arguments": '{"query": "hay"}',
        "gen_ai.tool.call.result": "Hay.",
        "gen_ai.agent.name": "x",
    }


def test_an_mcp_call_is_the_tool_call_and_the_request() -> None:
    """One row has the attributes of the tool's execution and those of MCP; a failed one has the protocol's code."""
    attributes = added("mcp", "genai")
    assert attributes["gen_ai.tool.name"] == "search"
    assert attributes["mcp.method.name"] == "tools/call"
    assert attributes["mcp.protocol.version"] == "2025-11-25"
    assert (attributes["network.transport"], attributes["network.protocol.name"]) == ("tcp", "http")
    assert (attributes["jsonrpc.request.id"], attributes["mcp.session.id"]) == ("3", "f00d")
    assert "rpc.response.status_code" not in attributes
    failed = added("mcp failed", "genai")
    assert failed["error.type"] == failed["rpc.response.status_code"] == "-32602"
    assert failed["network.transport"] == "pipe"
    zero = {"metadata.mcp_method": "prompts/get", "metadata.mcp_error_type": "0", "level": "ERROR"}
    attributes = added(body("span", "x.get_prompt", zero), "genai")
    assert attributes["error.type"] == attributes["rpc.response.status_code"] == "0"
    assert "gen_ai.tool.call.result" not in failed


def test_a_request_to_a_server_is_no_tool_call() -> None:
    """Reading a resource and getting a prompt are MCP requests, and no tool is named."""
    assert added("resource", "genai") == {
        "mcp.method.name": "resources/read",
        "mcp.resource.uri": "file:///a.md",
    }
    assert added("prompt", "genai") == {"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "greeting"}
    assert "tool.name" not in added("resource", "openinference")


def test_a_retrieval() -> None:
    """A retrieval has its question, and ids and scores of what it brought, not the texts."""
    attributes = added("retriever", "genai")
    assert attributes["gen_ai.retrieval.query.text"] == "llama food"
    assert parts(attributes, "gen_ai.retrieval.documents") == [{"id": "d1", "score": 0.5}, {"id": "1"}]


def test_the_model_that_was_asked_for_and_the_one_that_answered() -> None:
    """Both models stand on a row for other servers, and neither they nor what holds them reach Langfuse."""
    row = body("generation", "M", {**GENERATION, "langfuse_integration.asked_model": "claude"})
    span = translated(row)
    assert span.name == "chat claude"
    assert span.attributes["gen_ai.request.model"] == span.attributes["llm.request.model_name"] == "claude"
    assert span.attributes["gen_ai.response.model"] == span.attributes["llm.model_name"] == "claude-sonnet-4-5"
    assert not [key for key in span.attributes if key.startswith("langfuse_integration")]
    assert otlp.without_exact(row) == body("generation", "M", GENERATION)


# -- OpenInference


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("generation", "LLM"), ("text", "LLM"), ("embedding", "EMBEDDING"), ("agent", "AGENT"), ("plan", "CHAIN"),
        ("tool", "TOOL"), ("mcp", "TOOL"), ("retriever", "RETRIEVER"), ("guardrail", "GUARDRAIL"), ("span", "CHAIN"),
    ],
)  # fmt: skip
def test_kinds_of_openinference(row: str, kind: str) -> None:
    """Each type of row has OpenInference's kind for it."""
    attributes = added(row, "openinference")
    assert attributes["openinference.span.kind"] == kind


def test_a_model_call_in_openinference() -> None:
    """Messages, tools, tokens and cost are flattened as OpenInference has them."""
    attributes = added("generation", "openinference")
    assert attributes["llm.model_name"] == "claude-sonnet-4-5"
    assert (attributes["llm.provider"], attributes["llm.system"]) == ("anthropic", "anthropic")
    assert {key: value for key, value in attributes.items() if "token_count" in key} == {
        "llm.token_count.prompt": 20,
        "llm.token_count.completion": 13,
        "llm.token_count.total": 33,
        "llm.token_count.prompt_details.cache_read": 5,
        "llm.token_count.prompt_details.cache_write": 3,
        "llm.token_count.prompt_details.audio": 2,
        "llm.token_count.completion_details.reasoning": 4,
        "llm.token_count.completion_details.audio": 1,
    }
    assert attributes["llm.cost.prompt"] == pytest.approx(0.012)
    assert attributes["llm.cost.total"] == pytest.approx(0.032)
    assert attributes["llm.input_messages.1.message.content"] == "What do llamas eat?"
    assert attributes["llm.input_messages.3.message.tool_call_id"] == "call_1"
    call = "llm.output_messages.0.message.tool_calls.0.tool_call"
    assert attributes[f"{call}.function.name"] == "search"
    assert json.loads(attributes[f"{call}.function.arguments"]) == {"query": "hay"}
    assert json.loads(attributes["llm.tools.1.tool.json_schema"])["name"] == "read"
    assert json.loads(attributes["metadata"])["tenant"] == "north"
    assert attributes["tag.tags"] == ["beta"]


def test_values_have_a_type() -> None:
    """Inputs and outputs are JSON where they are, and plain text otherwise."""
    attributes = added("span", "openinference")
    assert (attributes["input.value"], attributes["input.mime_type"]) == ("What?", "text/plain")
    assert (attributes["output.value"], attributes["output.mime_type"]) == ('{"answer": "Hay"}', "application/json")


# -- what stays as it is, and what goes nowhere


def test_attributes_of_the_row_itself_come_first() -> None:
    """What an instrumentation or the application has set is not replaced."""
    row = body("generation", "x", {**GENERATION, "gen_ai.request.model": "asked", "gen_ai.response.id": "r1"})
    assert translated(row).attributes["gen_ai.request.model"] == "asked"


def test_spans_of_other_libraries_keep_name_and_kind() -> None:
    """Spans of others are named and of the kind that their library gave them."""
    span = translated(body("span", "GET /", {}, scope="opentelemetry.instrumentation.asgi"))
    assert (span.name, span.kind) == ("GET /", "INTERNAL")


def test_rows_without_conventions_are_as_langfuse_gets_them() -> None:
    """Without conventions nothing but what is local is changed."""
    row = body("generation", "x", {**GENERATION, "langfuse_integration.exact": {"whole": 1}})
    (span,) = decoded(Translation(()).translated(row))
    (before,) = decoded(ExportTraceServiceRequest.FromString(body("generation", "x", GENERATION)))
    assert span == before


@pytest.mark.parametrize("capture", ["none", "metrics", "truncated"])
def test_a_destination_may_have_a_stricter_capture(capture: str) -> None:
    """What a destination's capture leaves out is in no attribute of any convention."""
    secret = "llamas eat " + "hay " * 2_000
    row = body(
        "generation", "secret-name" if capture == "metrics" else "M",
        {**GENERATION, "input": [{"role": "user", "content": secret}], "output": secret, "status_message": secret},
    )  # fmt: skip
    span = translated(row, capture=capture)
    text = json.dumps({**span.attributes, "name": span.name, "status": span.status_message})
    assert secret not in text
    if capture != "truncated":
        assert "hay" not in text
        assert not [key for key in span.attributes if key.startswith(("llm.input_messages", "gen_ai.input"))]
    assert span.attributes["gen_ai.usage.input_tokens"] == 20
    assert span.attributes["llm.model_name"] == "claude-sonnet-4-5"
    if capture == "metrics":
        assert "secret-name" not in text
        assert "librarian" not in text


def test_a_damaged_row_goes_nowhere() -> None:
    """A body that is no request makes no span, and no error."""
    assert Translation(CONVENTIONS).request([b"\xff\xff", ROWS["span"]]) != b""
    assert len(decoded(ExportTraceServiceRequest.FromString(Translation(()).request([b"\xff", ROWS["span"]])))) == 1


@pytest.mark.parametrize(
    "content", ["{", "[", "null", "[1, {}]", '{"messages": 3}', '{"messages": [null]}', '"x"', "12"]
)
def test_any_content_can_be_translated(content: str) -> None:
    """Whatever stands in inputs, outputs, parameters and metadata, a row is translated."""
    entries = dict.fromkeys(("input", "output", "model.parameters", "usage_details", "cost_details"), content)
    for kind in ("generation", "embedding", "agent", "tool", "retriever", "span"):
        span = translated(body(kind, "x", {**entries, "metadata.finish_reason": content, "metadata.tools": content}))
        assert span.attributes["openinference.span.kind"]


# -- the names, and the table in the documents


def known_names() -> set[str]:
    """Return the attribute names of the conventions, from their own packages; older ones lack some."""
    names: set[str] = set()
    for module in ("gen_ai", "mcp", "network", "error", "jsonrpc", "rpc"):
        attributes = pytest.importorskip(f"opentelemetry.semconv._incubating.attributes.{module}_attributes")
        names |= {value for value in vars(attributes).values() if isinstance(value, str)}
    openinference = pytest.importorskip("openinference.semconv.trace")
    for holder in vars(openinference).values():
        if isinstance(holder, type) and holder.__name__.endswith("Attributes"):
            names |= {value for value in vars(holder).values() if isinstance(value, str)}
    if not names >= {"gen_ai.usage.reasoning.output_tokens", "llm.finish_reason", "rpc.response.status_code"}:
        pytest.skip("the installed packages of the conventions are older than these rows")
    return names


def made_names() -> dict[str, tuple[str, set[str]]]:
    """Return the names that the sample rows get, with convention and types of rows; numbers in them are N."""
    names: dict[str, tuple[str, set[str]]] = {}
    for convention in CONVENTIONS:
        for row in ROWS:
            for key in added(row, convention):
                name = re.sub(r"\.\d+\.", ".N.", key)
                kind = "MCP" if row.startswith(("mcp", "resource", "prompt")) else translated(row).type or ""
                names.setdefault(name, (convention, set()))[1].add(kind)
    return names


def test_every_name_is_one_of_the_conventions() -> None:
    """Each attribute that is added has a name that the conventions' own packages know."""
    names = known_names()
    unknown = [name for name in made_names() if not names >= set(name.split(".N."))]
    assert unknown == []


def test_the_table_in_the_documents_is_what_is_sent() -> None:
    """docs/backends.md lists exactly the attributes that rows get, by convention and type of row."""
    lines = [f"| `{name}` | {convention} | {listed(kinds)} |" for name, (convention, kinds) in made_names().items()]
    table = [line for line in DOCUMENT.read_text().splitlines() if re.match(r"\| `[a-z_.N]+` \| (genai|openinf)", line)]
    assert table == lines


def listed(kinds: set[str]) -> str:
    """Return types of rows as the table has them."""
    return ", ".join(sorted(kinds, key=str.lower)) if len(kinds) < EVERY else "every row"
