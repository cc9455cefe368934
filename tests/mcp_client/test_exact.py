"""Exact forms of what servers answer: each kind of result is rebuilt as an equal object, from JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp import types as t

from langfuse_integration_mcp import exact
from langfuse_integration_mcp.exchanges import Aside, ExactExchanges, McpExchange

pytestmark = pytest.mark.mcp


def text(said: str) -> t.TextContent:
    """Return a text block."""
    return t.TextContent(type="text", text=said)


def result(*content: Any, **fields: Any) -> t.CallToolResult:
    """Return a tool's result; *fields* have the protocol's names, which both generations of the SDK take."""
    return t.CallToolResult.model_validate({"content": list(content), **fields})


def made(kind: type[Any], **fields: Any) -> Any:
    """Return an object of the SDK from fields with the protocol's names."""
    return kind.model_validate(fields)


PNG = made(t.ImageContent, type="image", data="iVBORw0KGgo=", mimeType="image/png")
TOOL = {"name": "add", "inputSchema": {"type": "object", "properties": {"a": {"type": "number", "default": None}}}}
RESULTS: dict[str, Any] = {
    "one text": result(text("hi")),
    "two texts": result(text("a"), text("b")),
    "a text that is JSON": result(text('{"a":1}')),
    "structured, with its text": result(text('{"a":1}'), structuredContent={"a": 1}),
    "structured only": result(structuredContent={"a": 1, "none": None, "list": [None, {"deep": None}]}),
    "a wrapped number": result(text("3"), structuredContent={"result": 3}),
    "an image": result(PNG),
    "audio": result(made(t.AudioContent, type="audio", data="UklGRg==", mimeType="audio/wav")),
    "a resource link": result(made(t.ResourceLink, type="resource_link", name="r", uri="file:///a", size=3)),
    "an embedded text": result({"type": "resource", "resource": {"uri": "file:///a", "text": "x"}}),
    "embedded bytes": result({"type": "resource", "resource": {"uri": "file:///a", "blob": "eA=="}}),
    "tool said it failed": result(text("no"), isError=True),
    "_meta": result(text("hi"), _meta={"k": None, "example.org/k": 1}),
    "annotations": result({"type": "text", "text": "hi", "annotations": {"audience": ["user"], "priority": 0.5}}),
    "nothing": result(),
    "a resource": made(t.ReadResourceResult, contents=[{"uri": "memo://a", "mimeType": "text/plain", "text": "x"}]),
    "a prompt": made(t.GetPromptResult, messages=[{"role": "user", "content": {"type": "text", "text": "x"}}]),
    "a completion": made(t.CompleteResult, completion={"values": ["Lama"], "hasMore": False}),
    "a listing": made(t.ListToolsResult, tools=[TOOL], nextCursor="2"),
    "a handshake": made(
        t.InitializeResult,
        protocolVersion="2025-11-25",
        capabilities={"tools": {"listChanged": False}, "experimental": {"x": {}}},
        serverInfo={"name": "tools", "version": "1"},
        instructions="Be kind.",
    ),
}


def through_a_file(form: Any) -> Any:
    """Return *form* as a file gives it back."""
    return json.loads(json.dumps(form))


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_is_rebuilt(kind: str) -> None:
    """A result is rebuilt as an equal object of the same class, with its blocks' classes."""
    answer = RESULTS[kind]
    back = exact.rebuilt(type(answer), through_a_file(exact.form_of(answer)))
    assert back == answer
    assert repr(back) == repr(answer)


def test_each_result_has_a_form_of_its_own() -> None:
    """No two kinds of results have the same form."""
    forms = [json.dumps(exact.form_of(answer)) for answer in RESULTS.values()]
    assert len(set(forms)) == len(RESULTS)


def test_an_error_is_rebuilt() -> None:
    """The protocol's error is rebuilt as the SDK's exception, with code, message and data; other errors have none."""
    form = {"code": -32042, "message": "rejected", "data": {"why": [1, None]}}
    error: Any = exact.rebuilt_error(form)
    assert through_a_file(exact.form_of_error(error)) == form
    assert (error.error.code, error.error.message, error.error.data) == (-32042, "rejected", {"why": [1, None]})
    assert exact.form_of_error(TimeoutError()) is None


def exchange(answer: Any = None, **params: Any) -> McpExchange:
    """Return an exchange of a tool call."""
    noted = McpExchange(made(t.CallToolRequest, method="tools/call", params={"name": "add", **params}))
    if answer is not None:
        noted.answer(answer)
    return noted


def test_the_form_of_exchanges() -> None:
    """Request, messages and answer stand in the protocol's words; the trace's ids in `_meta` are left out."""
    noted = exchange(result(text("3")), arguments={"a": 1}, _meta={"traceparent": "00-1-2-01"})
    noted.heard("roots/list", None)
    noted.heard("notifications/progress", {"progress": 1.0})
    failed = exchange()
    failed.error = {"code": -1, "message": "no"}
    form = through_a_file(ExactExchanges("tools", (1, "stdio", None), [noted, failed, exchange()])())
    assert (form["form"], form["of"], "server" in form) == ("mcp.exchanges", "tools", False)
    [first, second, third] = form["exchanges"]
    assert first["method"] == "tools/call"
    assert first["params"] == {"name": "add", "arguments": {"a": 1}}
    assert first["messages"] == [
        {"method": "roots/list"},
        {"method": "notifications/progress", "params": {"progress": 1.0}},
    ]
    assert exact.rebuilt(t.CallToolResult, first["result"]) == result(text("3"))
    assert second["error"] == {"code": -1, "message": "no"}
    assert "result" not in second
    assert not {"result", "error"} & third.keys()


def test_what_no_row_is_about_goes_along_once_with_each_session() -> None:
    """The latest exchanges of a server are passed to each session once, and again after they have changed."""
    aside, worker = Aside(), object()
    first, second = exchange(result()), exchange(result(text("new")))
    assert aside.for_session("tools", "s-1", worker) == []
    aside.keep("tools", [first])
    assert aside.for_session("tools", "s-1", worker) == [first]
    assert aside.for_session("tools", "s-1", worker) == []
    assert aside.for_session("tools", "s-2", worker) == [first]
    assert aside.for_session("others", "s-1", worker) == []
    aside.keep("tools", [first])
    assert aside.for_session("tools", "s-1", worker) == []
    aside.keep("tools", [second])
    assert aside.for_session("tools", "s-1", worker) == [second]
    assert aside.for_session("tools", "s-1", object()) == [second]
