"""Results as a person reads them, of either generation of the SDK."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from mcp import types

from langfuse_integration import configure
from langfuse_integration.encoding.json_text import to_json
from langfuse_integration_mcp import readable

pytestmark = pytest.mark.mcp

DATA = base64.b64encode(b"12345").decode()


def text(value: str) -> dict[str, Any]:
    """Return a text block."""
    return {"type": "text", "text": value}


@pytest.fixture(autouse=True)
def _registered() -> None:
    readable.register()


def read(kind: Any, **fields: Any) -> Any:
    """Return how a value of the protocol's type *kind*, given with the names of the wire, is written."""
    written = to_json(kind.model_validate(fields))
    try:
        return json.loads(written)
    except ValueError:
        return written


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"content": [text("hello")]}, "hello"),
        ({"content": []}, []),
        ({"content": [text("one"), text("two")]}, ["one", "two"]),
        ({"content": [text("3")], "structuredContent": {"result": 3}}, 3),
        ({"content": [text("hello")], "structuredContent": {"result": "hello"}}, "hello"),
        ({"content": [text("a"), text("b")], "structuredContent": {"result": ["a", "b"]}}, ["a", "b"]),
        ({"content": [text('{"a": 1}')], "structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": [], "structuredContent": {"a": 1}}, {"a": 1}),
        (
            {"content": [text("see below")], "structuredContent": {"a": 1}},
            {"content": "see below", "structured_content": {"a": 1}},
        ),
        ({"content": [{"type": "image", "data": DATA, "mimeType": "image/png"}]}, "[image, image/png, 5 bytes]"),
        ({"content": [{"type": "audio", "data": DATA, "mimeType": "audio/wav"}]}, "[audio, audio/wav, 5 bytes]"),
        (
            {"content": [{"type": "resource_link", "name": "memo", "uri": "memo://today"}]},
            "[resource memo://today]",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "memo://today", "text": "Feed them."}}]},
            "Feed them.",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "memo://x", "blob": DATA, "mimeType": "a/b"}}]},
            "[resource memo://x, a/b, 5 bytes]",
        ),
        (
            {
                "content": [text("look"), {"type": "image", "data": DATA, "mimeType": "image/png"}],
                "structuredContent": {"result": "look"},
            },
            {"content": "[image, image/png, 5 bytes]", "structured_content": {"result": "look"}},
        ),
        ({"content": [text("a file")], "structuredContent": {"content": "a file"}}, "a file"),
        (
            {"content": [text("a file")], "structuredContent": {"content": "a file", "size": 6}},
            {"content": "a file", "size": 6},
        ),
        (
            {"content": [text('[{"name": "Luna"}]')], "structuredContent": {"entities": [{"name": "Luna"}]}},
            {"entities": [{"name": "Luna"}]},
        ),
        (
            {"content": [text('{"a": 1}'), text('{"b": 2}')], "structuredContent": {"files": [{"a": 1}, {"b": 2}]}},
            {"files": [{"a": 1}, {"b": 2}]},
        ),
        (
            {"content": [text("0")], "structuredContent": {"ok": False}},
            {"content": "0", "structured_content": {"ok": False}},
        ),
        (
            {"content": [text("one"), text("see below")], "structuredContent": {"a": "one"}},
            {"content": ["one", "see below"], "structured_content": {"a": "one"}},
        ),
    ],
)
def test_a_tools_result(fields: dict[str, Any], expected: Any) -> None:
    """Text as text, structured content as JSON and not twice, media as a mark with its size."""
    assert read(types.CallToolResult, **fields) == expected


def test_an_image_that_is_not_uploaded_is_a_short_mark(clean_state: None) -> None:
    """Without uploads, base64 does not get into a row."""
    configure(media_upload=False)
    image = {"type": "image", "data": "A" * 4_000_000, "mimeType": "image/png"}
    assert read(types.CallToolResult, content=[image]) == "[image, image/png, 3000000 bytes]"


def test_other_results() -> None:
    """Resources, prompts, completions and listings."""
    contents = [{"uri": "memo://a", "text": "one"}, {"uri": "memo://b", "blob": DATA}]
    assert read(types.ReadResourceResult, contents=contents) == ["one", "[resource memo://b, 5 bytes]"]
    message = {"role": "user", "content": text("hello")}
    assert read(types.GetPromptResult, messages=[message]) == [{"role": "user", "content": "hello"}]
    assert read(types.CompleteResult, completion={"values": ["Lama"]}) == ["Lama"]
    tool = {"name": "echo", "description": "Say it again.", "inputSchema": {"type": "object"}}
    assert read(types.ListToolsResult, tools=[tool]) == [{"name": "echo", "description": "Say it again."}]
    template = {"name": "note", "uriTemplate": "note://{name}"}
    assert read(types.ListResourceTemplatesResult, resourceTemplates=[template]) == [
        {"name": "note", "uri": "note://{name}"}
    ]


def test_what_servers_ask() -> None:
    """A sampling and an elicitation: the messages or the question, and the answers."""
    message = {"role": "user", "content": text("Go on")}
    wanted = {"messages": [message], "maxTokens": 5, "systemPrompt": "Be brief."}
    assert read(types.CreateMessageRequestParams, **wanted) == {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Go on"}],
    }
    sampled = {"role": "assistant", "content": text("Well."), "model": "a-model"}
    assert read(types.CreateMessageResult, **sampled) == {"role": "assistant", "content": "Well.", "model": "a-model"}
    assert read(types.ElicitResult, action="accept", content={"animal": "llama"}) == {
        "action": "accept",
        "content": {"animal": "llama"},
    }
    assert read(types.ElicitResult, action="decline") == {"action": "decline"}
