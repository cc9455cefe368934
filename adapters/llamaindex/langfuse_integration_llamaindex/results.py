"""Exact forms of what tools, retrievers and embedding models return, from which a replay answers in their place.

{"form": "llamaindex.tool", "result": form}            the `ToolOutput`; see `object_form`
{"form": "llamaindex.retriever", "result": [form]}     the nodes with their scores
{"form": "llamaindex.embedding", "result": [text]}     the vectors, see `packed`
{"form": ..., "error": form}
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from langfuse_integration.encoding import object_form
from langfuse_integration.encoding.error_form import error_form
from langfuse_integration.recording.exact_result import ExactResult
from langfuse_integration.recording.noted import as_it_was
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.snapshot import snapshot

from .tools import noted_output

TOOL, RETRIEVER, EMBEDDING = "llamaindex.tool", "llamaindex.retriever", "llamaindex.embedding"
FRAMEWORK = "llama_index."
WAITING = frozenset({"WaitingForEvent", "CancelledError"})
"""Exceptions of workflows that end no call."""


# -- writing, on the application's thread


def returned(kind: str, observation: Observation, result: Any, name: str = "") -> None:
    """Note what a call of *kind* (`tool`, `retriever`, `embedding`) returned."""
    form, copied, write = _KINDS[kind]
    ExactResult(form, None, write, copied(result)).keep(observation, name)


def raised(kind: str, observation: Observation, error: BaseException, name: str = "") -> None:
    """Note the error that a call of *kind* raised."""
    if isinstance(error, Exception) and type(error).__name__ not in WAITING:
        ExactResult(_KINDS[kind][0], {"error": error_form(error)}).keep(observation, name)


def is_plumbing(tool: Any) -> bool:
    """Return whether a tool is LlamaIndex's own and changes a run, as the one that hands over to another agent."""
    function = getattr(tool, "real_fn", None)
    return str(getattr(function, "__module__", "")).startswith(FRAMEWORK)


def _copied_nodes(result: Any) -> Any:
    """Return copies of nodes: rerankers change scores, and sentence windows texts, in place."""
    if not isinstance(result, (list, tuple)):
        return result
    return [_copied_node(scored) for scored in result]


def _copied_node(scored: Any) -> Any:
    node = getattr(scored, "node", None)
    if node is None or not hasattr(scored, "model_copy"):
        return scored
    return scored.model_copy(update={"node": node.model_copy(update={"metadata": dict(node.metadata)})})


def _packed_all(result: Any) -> list[Any]:
    many = isinstance(result, (list, tuple)) and bool(result) and not _is_number(result[0])
    return [packed(vector) for vector in (result if many else [result])]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or not hasattr(value, "__len__")


def packed(vector: Any) -> Any:
    """Return a vector as text: `f4:` or `f8:` and its little-endian floats, base64; another value in its own form."""
    try:
        wide = array("d", vector)
    except TypeError:  # a sparse one
        return object_form.form_of(vector)
    narrow = array("f", wide)
    kind, values = ("f4", narrow) if list(narrow) == list(wide) else ("f8", wide)
    if sys.byteorder == "big":
        values.byteswap()
    return f"{kind}:{base64.b64encode(values.tobytes()).decode()}"


_KINDS: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tool": (TOOL, noted_output, lambda noted: object_form.form_of(as_it_was(noted))),
    "retriever": (RETRIEVER, _copied_nodes, object_form.form_of),
    "embedding": (EMBEDDING, snapshot, _packed_all),
}


# -- reading


def unpacked(form: Any) -> Any:
    """Return the vector that `packed` was given, as a list of floats; plain numbers stay as they are."""
    kind, _, text = form.partition(":") if isinstance(form, str) else ("", "", "")
    if kind not in ("f4", "f8"):
        return object_form.rebuilt(form)
    values = array("f" if kind == "f4" else "d", base64.b64decode(text))
    if sys.byteorder == "big":
        values.byteswap()
    return list(values)


def vectors_of(form: Mapping[str, Any]) -> list[Any]:
    """Return the vectors of a recorded call; another answer is one vector, or a list of them."""
    if "replaced" not in form:
        return [unpacked(vector) for vector in form["result"]]
    other = form["replaced"]
    return [other] if _is_number(other[0]) else list(other)


def nodes_of(form: Mapping[str, Any]) -> list[Any]:
    """Return the nodes of a recorded retrieval; another answer is a text or a list of them."""
    from llama_index.core.schema import NodeWithScore, TextNode

    if "replaced" not in form:
        nodes: list[Any] = object_form.rebuilt(form["result"])
        return nodes
    other = form["replaced"]
    return [NodeWithScore(node=TextNode(text=str(text))) for text in (other if isinstance(other, list) else [other])]


def output_of(form: Mapping[str, Any], tool: Any) -> Any:
    """Return the `ToolOutput` of a recorded call of *tool*; another answer is what the tool returns."""
    from llama_index.core.tools import ToolOutput

    if "replaced" not in form:
        return object_form.rebuilt(form["result"])
    other = form["replaced"]
    return ToolOutput(content=str(other), tool_name=tool.metadata.get_name(), raw_input={}, raw_output=other)
