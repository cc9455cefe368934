"""Readable forms of server results: text as text, structured content as JSON, media as data URIs.

Converters for the SDK's types, of 1.x (camelCase) and 2.x (snake_case). They run on the worker's thread, for rows of
this adapter and for those of frameworks that keep an MCP result in their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.encoding.media import LEAST_BYTES
from langfuse_integration.settings import settings

_registered = False
_MISSING = object()


def register() -> None:
    """Register the types of the installed SDK with the payload writer, once."""
    global _registered
    if _registered:
        return
    _registered = True
    from mcp import types

    for name, converter in CONVERTERS.items():
        kind = getattr(types, name, None)
        if isinstance(kind, type):
            json_text.register(kind, converter)


def either(value: Any, new: str, old: str) -> Any:
    """Return a field by its name in mcp 2.x, or where there is none of that name, by its name in 1.x.

    The old name is not tried without need: fastmcp warns of it.
    """
    field = getattr(value, new, _MISSING)
    return getattr(value, old, None) if field is _MISSING else field


def is_error(result: Any) -> bool:
    """Return whether a tool's result reports a failure."""
    flag = getattr(result, "is_error", _MISSING)
    return bool(getattr(result, "isError", None) if flag is _MISSING else flag)


def text_of(result: Any, limit: int = 2_000) -> str:
    """Return the text in a tool's result, for a status message."""
    texts: list[str] = [
        block.text for block in getattr(result, "content", ()) if getattr(block, "type", None) == "text"
    ]
    return "\n".join(texts)[:limit]


def _result(result: Any) -> Any:
    blocks = list(getattr(result, "content", None) or ())
    structured = either(result, "structured_content", "structuredContent")
    parts = [block_of(block) for block in blocks]
    if structured is None:
        return _one_or_all(parts)
    # A tool that returns text, a number or a list is wrapped by the SDK's servers, since the protocol wants an object.
    # Others put its text under a key of their own.
    texts: list[str] = [block.text for block in blocks if getattr(block, "type", None) == "text"]
    if _is_dump(structured, blocks):
        return _one_or_all(parts)
    plain = structured
    if isinstance(structured, dict) and len(structured) == 1:
        [(key, value)] = structured.items()
        plain = value if key == "result" or [value] == texts else structured
    if _repeats(texts, structured):
        parts = [block_of(block) for block in blocks if getattr(block, "type", None) != "text"]
    return {"content": _one_or_all(parts), "structured_content": structured} if parts else plain


def _is_dump(structured: Any, blocks: list[Any]) -> bool:
    """Return whether structured content only repeats *blocks*, as it does for a tool that returns a list of them."""
    listed = structured.get("result") if isinstance(structured, dict) and len(structured) == 1 else None
    if not isinstance(listed, list) or len(listed) != len(blocks) or not all(isinstance(one, dict) for one in listed):
        return False
    return bool(listed == [block.model_dump(mode="json", by_alias=True) for block in blocks])


def _repeats(texts: list[str], structured: Any) -> bool:
    """Return whether *texts* say nothing that the structured content does not say, as it is or as JSON."""
    values = [structured, *(structured.values() if isinstance(structured, dict) else ())]
    parsed = [_parsed(text) for text in texts]
    if texts in values or parsed in values:
        return True
    # 0 and False, 1 and 1.0 are equal in Python, but not the same text.
    exact = [value for value in values if not isinstance(value, (bool, int, float))]
    numbers = [(type(value), value) for value in values if isinstance(value, (bool, int, float))]
    return all(
        text in exact or value in exact or (type(value), value) in numbers
        for text, value in zip(texts, parsed, strict=True)
    )


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _one_or_all(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else parts


def block_of(block: Any) -> Any:
    """Return a content block: text, a data URI, or a mark that says what it is."""
    kind = getattr(block, "type", None)
    if kind == "text":
        return block.text
    if kind in ("image", "audio"):
        return _medium(kind, either(block, "mime_type", "mimeType"), block.data)
    if kind == "resource_link":
        return f"[resource {block.uri}]"
    if kind == "resource":
        return _contents(block.resource)
    return block


def _contents(contents: Any) -> Any:
    text = getattr(contents, "text", None)
    if text is not None:
        return text
    return _medium("resource " + str(contents.uri), either(contents, "mime_type", "mimeType"), contents.blob)


def _medium(what: str, mime_type: str | None, base64: str) -> str:
    """Return a medium as a data URI, which the encoding uploads and replaces; a mark if it is not to be uploaded."""
    if mime_type and len(base64) >= LEAST_BYTES and settings().media_upload:
        return f"data:{mime_type};base64,{base64}"
    size_bytes = len(base64) * 3 // 4 - base64[-2:].count("=")
    return f"[{what}{f', {mime_type}' if mime_type else ''}, {size_bytes} bytes]"


def _read(result: Any) -> Any:
    return _one_or_all([_contents(contents) for contents in result.contents])


def _message(message: Any) -> Any:
    content = message.content
    shown = [block_of(block) for block in content] if isinstance(content, list) else block_of(content)
    return {"role": message.role, "content": shown}


def _prompt(result: Any) -> Any:
    return [_message(message) for message in result.messages]


def _sampled(result: Any) -> Any:
    return {**_message(result), "model": result.model}


def _sampling(params: Any) -> Any:
    shown: dict[str, Any] = {"messages": [_message(message) for message in params.messages]}
    system = either(params, "system_prompt", "systemPrompt")
    return {"system": system, **shown} if system else shown


def _elicitation(params: Any) -> Any:
    schema = either(params, "requested_schema", "requestedSchema")
    url = getattr(params, "url", None)
    extras = {"requested_schema": schema, "url": url}
    return {"message": params.message, **{key: value for key, value in extras.items() if value is not None}}


def _elicited(result: Any) -> Any:
    return {"action": result.action, **({"content": result.content} if result.content else {})}


def _required(result: Any) -> Any:
    return {"input_required": {key: request.params for key, request in (result.input_requests or {}).items()}}


def _completed(result: Any) -> Any:
    return list(result.completion.values)


def _listed(field: str, old: str | None = None) -> Callable[[Any], Any]:
    def listing(result: Any) -> Any:
        return [_entry(entry) for entry in either(result, field, old or field) or ()]

    return listing


def _entry(entry: Any) -> Any:
    address = getattr(entry, "uri", None) or either(entry, "uri_template", "uriTemplate")
    shown = {"name": entry.name, "uri": str(address) if address else None, "description": entry.description}
    return {key: value for key, value in shown.items() if value is not None}


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "CallToolResult": _result,
    "ReadResourceResult": _read,
    "GetPromptResult": _prompt,
    "CompleteResult": _completed,
    "ListToolsResult": _listed("tools"),
    "ListResourcesResult": _listed("resources"),
    "ListResourceTemplatesResult": _listed("resource_templates", "resourceTemplates"),
    "ListPromptsResult": _listed("prompts"),
    "TextContent": block_of,
    "ImageContent": block_of,
    "AudioContent": block_of,
    "ResourceLink": block_of,
    "EmbeddedResource": block_of,
    "PromptMessage": _message,
    "SamplingMessage": _message,
    "CreateMessageRequestParams": _sampling,
    "CreateMessageResult": _sampled,
    "CreateMessageResultWithTools": _sampled,
    "ElicitRequestFormParams": _elicitation,
    "ElicitRequestURLParams": _elicitation,
    "ElicitResult": _elicited,
    "InputRequiredResult": _required,
}
"""By the name of the type in `mcp.types`; a type that the installed release does not have is left out."""
