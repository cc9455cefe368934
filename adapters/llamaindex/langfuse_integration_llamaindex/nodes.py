"""Nodes, documents, queries and responses as a person reads them: text with its score and source."""

from __future__ import annotations

from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding import json_text
from langfuse_integration.recording.snapshot import snapshot

SOURCE_KEYS = ("file_path", "file_name", "url", "source", "title")
"""Metadata keys that name the source of a node, the most specific first."""

_NO_ENTRIES: dict[str, Any] = {}
"""A copy of what is empty, as in kept.py."""


class NodeSnapshot:
    """A node's text, score and metadata at this moment: rerankers change them in place, and sentence windows texts."""

    __slots__ = ("metadata", "node", "score", "text")

    def __init__(self, scored: Any) -> None:
        node = getattr(scored, "node", scored)
        fields: dict[str, Any] = getattr(node, "__dict__", _NO_ENTRIES)
        self.node = node
        self.score = getattr(scored, "score", None)
        text = fields.get("text")  # where most nodes have it
        self.text: str | None = text if type(text) is str and "text_resource" not in fields else text_of(node)
        metadata = fields.get("metadata")
        self.metadata = snapshot(metadata) if metadata or type(metadata) is not dict else _NO_ENTRIES


class Vectors:
    """The result of an embedding call: the row tells the number and size of the vectors, not their values."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


class NodeQuery:
    """The input of a reranker or synthesiser: the question, and the nodes as they were."""

    __slots__ = ("nodes", "query")

    def __init__(self, query: Any, nodes: Any) -> None:
        self.query = query
        self.nodes = nodes


# -- on the application's thread: references


def text_of(node: Any) -> str | None:
    """Return a node's text without its metadata, or None when it has none."""
    fields: dict[str, Any] = getattr(node, "__dict__", {})  # to ask pydantic for a field that is not there takes long
    resource = fields.get("text_resource") if "text" in fields else getattr(node, "text_resource", None)
    if resource is not None:
        return getattr(resource, "text", None)
    text = fields["text"] if "text" in fields else getattr(node, "text", None)
    return text if isinstance(text, str) else None


def retrieved(result: Any) -> Any:
    """Return the nodes of a retrieval or reranking as they are now."""
    return list(map(NodeSnapshot, result)) if isinstance(result, (list, tuple)) else result


def ranked(bound: BoundArguments) -> NodeQuery:
    """Return the input of a postprocessor."""
    return NodeQuery(bound.arguments.get("query_bundle"), retrieved(bound.arguments.get("nodes")))


def synthesised(bound: BoundArguments) -> NodeQuery:
    """Return the input of a synthesiser: the question with nodes, or with texts."""
    nodes = bound.arguments.get("nodes")
    if nodes is None:
        nodes = bound.arguments.get("text_chunks") or bound.arguments.get("message_chunks")
        return NodeQuery(bound.arguments.get("query_str"), nodes)
    return NodeQuery(bound.arguments.get("query"), retrieved(nodes))


def documents(bound: BoundArguments) -> Any:
    """Return the input of a transformation, a pipeline or a change of an index."""
    for name in ("documents", "nodes"):
        if bound.arguments.get(name) is not None:
            return listed(bound.arguments[name])
    document = bound.arguments.get("document")
    return [document] if document is not None else None


def listed(result: Any) -> Any:
    """Return documents or nodes by reference, in a list of their own."""
    return list(result) if isinstance(result, (list, tuple)) else result


# -- on the worker: plain values


def _snapshot(noted: NodeSnapshot) -> dict[str, Any]:
    return plain(noted.node, noted.text, noted.score, noted.metadata)


def _scored(scored: Any) -> dict[str, Any]:
    return plain(scored.node, text_of(scored.node), scored.score)


def plain(node: Any, text: str | None, score: Any = None, metadata: Any = None) -> dict[str, Any]:
    """Return a node as plain values: text, score, source, id and metadata; no embedding."""
    entries: dict[str, Any] = {"text": text if text is not None else _other(node)}
    if score is not None:
        entries["score"] = score
    if metadata is None:
        metadata = getattr(node, "metadata", None) or {}
    source = next((metadata[key] for key in SOURCE_KEYS if metadata.get(key)), None)
    if source is None:
        source = getattr(node, "ref_doc_id", None)
    if source is not None:
        entries["source"] = source
    entries["id"] = getattr(node, "node_id", None)
    if metadata:
        entries["metadata"] = metadata
    return entries


def _other(node: Any) -> str:
    """Return a line for a node without text, such as an image."""
    for name in ("image_url", "image_path", "url", "path"):
        if getattr(node, name, None):
            return f"<{type(node).__name__} {getattr(node, name)}>"
    return f"<{type(node).__name__}>"


def _vectors(vectors: Vectors) -> Any:
    result = vectors.result
    if not isinstance(result, (list, tuple, dict)):
        return None
    many = isinstance(result, (list, tuple)) and bool(result) and isinstance(result[0], (list, tuple, dict))
    one: Any = result[0] if many else result
    return {"embeddings": len(result) if many else 1, "dimensions": len(one)}


def _node_query(node_query: NodeQuery) -> dict[str, Any]:
    return {"query": node_query.query, "nodes": node_query.nodes}


def _bundle(bundle: Any) -> Any:
    image = getattr(bundle, "image_path", None)
    return {"query": bundle.query_str, "image": image} if image else bundle.query_str


def _response(response: Any) -> Any:
    return response.response


def _streamed(response: Any) -> Any:
    return response.response_txt


def _chatted(response: Any) -> Any:
    return getattr(response, "unformatted_response", "") or response.response


def register() -> None:
    """Register converters for nodes, queries and responses."""
    from llama_index.core.base.response.schema import (
        AsyncStreamingResponse,
        PydanticResponse,
        Response,
        StreamingResponse,
    )
    from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
    from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

    json_text.register(NodeSnapshot, _snapshot)
    json_text.register(Vectors, _vectors)
    json_text.register(NodeQuery, _node_query)
    json_text.register(NodeWithScore, _scored)
    json_text.register(BaseNode, lambda node: plain(node, text_of(node)))
    json_text.register(QueryBundle, _bundle)
    json_text.register(Response, _response)
    json_text.register(PydanticResponse, _response)
    json_text.register(StreamingResponse, _streamed)
    json_text.register(AsyncStreamingResponse, _streamed)
    json_text.register(AgentChatResponse, _response)
    json_text.register(StreamingAgentChatResponse, _chatted)
