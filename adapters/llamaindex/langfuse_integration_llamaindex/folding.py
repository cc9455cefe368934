"""The table of spans that make a row, by base class and method; all others are plumbing.

Two spans of the same object and kind, one directly in the other, make one row (`retrieve` and `_retrieve`, `acall` and
`call`). A method that the table does not name is plumbing if LlamaIndex decorated it, a row if the application did.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from langfuse_integration.recording.observation import ObservationType

from . import nodes, tools
from .arguments import first, given

Reader = Callable[[Any], Any]


class Kind(Enum):
    """How a span is treated; each has its opener in spans.py."""

    __hash__ = object.__hash__  # Enum's own is a function in Python, called for each span

    ROW = "a row"
    RUN = "a run of a workflow or an agent"
    MODEL = "a model call, or what is around one"
    CALLER = "a model call together with the tools that it asks for"
    TOOL = "a tool call"
    CHAT = "a turn of a chat engine"
    WRITER = "the background end of a streamed turn"
    INDEXING = "a change of an index"
    PLUMBING = "no row"


class Role(NamedTuple):
    """How one kind of span is recorded.

    Attributes:
        kind: selects the opener.
        type: the observation's type in Langfuse.
        read: makes the input from the call's bound arguments, on the application's thread: references only.
        write: makes the output from the result, likewise; None: the result itself.
    """

    kind: Kind
    type: ObservationType = "chain"
    read: Reader = given
    write: Reader | None = None


def nothing(_: Any) -> Any:
    """Return None: the input is filled in later."""
    return None


def _rows(role: Role, *methods: str) -> dict[str, Role]:
    """Return the table of methods, each sync and async, public and private."""
    return {prefix + name: role for name in methods for prefix in ("", "a", "_", "_a")}


_query = first("str_or_query_bundle", "query_bundle", "query", "query_str")

PLUMBING = Role(Kind.PLUMBING)
FUNCTION = Role(Kind.ROW, "span", given)
RUN = Role(Kind.RUN)
MODEL = Role(Kind.MODEL, "generation", nothing)
CALLER = Role(Kind.CALLER, "chain", first("user_msg", "chat_history"))
TOOL = Role(Kind.TOOL, "tool", tools.arguments, tools.outcome)
_embedded = first("query", "text", "texts", "queries", "img_file_path", "img_file_paths")
EMBEDDING = Role(Kind.ROW, "embedding", _embedded, nodes.Vectors)
RETRIEVAL = Role(Kind.ROW, "retriever", _query, nodes.retrieved)
RERANKING = Role(Kind.ROW, "chain", nodes.ranked, nodes.retrieved)
QUERY = Role(Kind.ROW, "chain", _query)
SYNTHESIS = Role(Kind.ROW, "chain", nodes.synthesised)
CHAT = Role(Kind.CHAT, "chain", first("message"))
WRITER = Role(Kind.WRITER)
INDEXING = Role(Kind.INDEXING, "chain", nodes.documents, nothing)
INGESTION = Role(Kind.ROW, "chain", nodes.documents, nodes.listed)
TRANSFORMATION = Role(Kind.ROW, "chain", nodes.documents, nodes.listed)
SELECTION = Role(Kind.ROW, "chain", given)

FAMILIES: dict[str, dict[str, Role]] = {
    "Workflow": {"run": RUN},
    "BaseLLM": {
        **_rows(MODEL, "chat", "complete", "stream_chat", "stream_complete", "predict", "stream"),
        **_rows(MODEL, "structured_predict", "stream_structured_predict"),
        **_rows(CALLER, "predict_and_call"),
    },
    "MultiModalLLM": _rows(MODEL, "chat", "complete", "stream_chat", "stream_complete"),
    "DefaultRefineProgram": {},
    "BasePydanticProgram": {"__call__": MODEL, **_rows(MODEL, "call", "stream_call")},
    "BaseTool": {"__call__": TOOL, **_rows(TOOL, "call")},
    "BaseEmbedding": _rows(
        EMBEDDING,
        *("get_query_embedding", "get_text_embedding", "get_text_embeddings", "get_text_embedding_batch"),
        *("get_image_embedding", "get_image_embeddings", "get_image_embedding_batch"),
    ),
    "BaseSparseEmbedding": _rows(
        EMBEDDING, "get_query_embedding", "get_text_embedding", "get_text_embeddings", "get_text_embedding_batch"
    ),
    "BaseRetriever": _rows(RETRIEVAL, "retrieve"),
    "BaseImageRetriever": _rows(RETRIEVAL, "text_to_image_retrieve", "image_to_image_retrieve"),
    "BaseQueryEngine": _rows(QUERY, "query"),
    "BaseSynthesizer": _rows(SYNTHESIS, "synthesize", "get_response", "get_response_from_messages"),
    "BaseChatEngine": _rows(CHAT, "chat", "stream_chat"),
    "StreamingAgentChatResponse": _rows(WRITER, "write_response_to_history"),
    "BaseNodePostprocessor": _rows(RERANKING, "postprocess_nodes"),
    "IngestionPipeline": _rows(INGESTION, "run"),
    "BaseIndex": {
        **_rows(INDEXING, "from_documents", "build_index_from_nodes", "insert", "insert_nodes"),
        **_rows(INDEXING, "update_ref_doc", "refresh_ref_docs"),
    },
    "TransformComponent": {"__call__": TRANSFORMATION, **_rows(TRANSFORMATION, "call", "extract", "parse_nodes")},
    "BaseSelector": _rows(SELECTION, "select"),
    "BaseQuestionGenerator": _rows(SELECTION, "generate"),
    "BaseQueryTransform": _rows(SELECTION, "run"),
    "BaseOutputParser": {},
    "BaseSQLParser": {},
    "BaseLLMPredictor": {},
}
"""By the nearest base class of LlamaIndex: the methods that are rows. Its other methods are plumbing."""

PLUMBING_FUNCTIONS = frozenset({"run_jobs", "run_jobs.<locals>.worker"})
FRAMEWORK = ("llama_index.", "llama_index_instrumentation.", "workflows.")
ROLES_LIMIT = 5_000
roles: dict[tuple[type, str], Role] = {}
"""What `role_of` has returned, by the type of the instance and the name: asked for each span."""
_bases: dict[type, frozenset[str]] = {}


def role_of(instance: Any, name: str) -> Role:
    """Find the role of a span, and keep it in `roles`.

    Args:
        instance: what the method was called on, or None for a function.
        name: the span's id without its random part: `Class.method`, or a function's qualified name.
    """
    role = _look_up(instance, name)
    if len(roles) >= ROLES_LIMIT:  # classes made on the fly
        roles.clear()
    roles[type(instance), name] = role
    return role


def _look_up(instance: Any, name: str) -> Role:
    if instance is None:
        return PLUMBING if name in PLUMBING_FUNCTIONS else FUNCTION
    method = name.rpartition(".")[2]
    kind = instance if isinstance(instance, type) else type(instance)
    for base in kind.__mro__:
        rows = FAMILIES.get(base.__name__)
        if rows is None or not base.__module__.startswith(FRAMEWORK):
            continue
        if method in rows:
            return rows[method]
        return PLUMBING if _of_framework(kind, method) else FUNCTION
    return PLUMBING if _of_framework(kind, method) else FUNCTION


def _of_framework(kind: type, method: str) -> bool:
    """Return whether LlamaIndex itself made a span of this method, and not the application by decorating it."""
    return any(method in vars(base) for base in kind.__mro__ if base.__module__.startswith(FRAMEWORK))


def is_a(instance: Any, *names: str) -> bool:
    """Return whether *instance* is of a class of LlamaIndex with one of these names, without importing it."""
    kind = type(instance)
    names_of_bases = _bases.get(kind)
    if names_of_bases is None:
        if len(_bases) >= ROLES_LIMIT:
            _bases.clear()
        names_of_bases = frozenset(base.__name__ for base in kind.__mro__ if base.__module__.startswith(FRAMEWORK))
        _bases[kind] = names_of_bases
    return not names_of_bases.isdisjoint(names)
