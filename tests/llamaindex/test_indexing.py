"""Embeddings, ingestion and the functions that an application decorates itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import BaseEmbedding, MockEmbedding
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import NodeWithScore, TextNode

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import TextLLM

SPLITTER = "chain SentenceSplitter"
EMBEDDING = "embedding MockEmbedding"
dispatcher = get_dispatcher(__name__)


def documents(count: int = 3) -> list[Document]:
    """Return short documents with a source."""
    return [Document(text=f"Fact {n}.", metadata={"file_name": f"{n}.md"}, id_=f"d{n}") for n in range(count)]


def test_a_batch_of_embeddings_is_one_row(settled: RecordedSessions) -> None:
    """However many texts and requests: one row with the texts, and how many vectors came."""
    texts = [f"text {n}" for n in range(25)]
    MockEmbedding(embed_dim=8, embed_batch_size=10).get_text_embedding_batch(texts)
    (row,) = settled.trace().observations
    assert (row.label, row.input, row.output) == (EMBEDDING, texts, {"embeddings": 25, "dimensions": 8})


@pytest.mark.asyncio
@pytest.mark.parametrize("workers", [None, 4])
async def test_an_async_batch_of_embeddings_is_one_row(settled: RecordedSessions, workers: int | None) -> None:
    """Batches made by workers side by side are the same row."""
    model = MockEmbedding(embed_dim=8, embed_batch_size=2, num_workers=workers)
    await model.aget_text_embedding_batch([f"text {n}" for n in range(6)])
    (row,) = settled.trace().observations
    assert (row.label, row.output) == (EMBEDDING, {"embeddings": 6, "dimensions": 8})


@pytest.mark.asyncio
async def test_single_embeddings(settled: RecordedSessions) -> None:
    """Each is a row with its text; the private method that does it is its twin."""
    model = MockEmbedding(embed_dim=8)
    with langfuse_manager.session("s-1"):
        model.get_text_embedding("a")
        model.get_query_embedding("b")
        await model.aget_text_embedding("c")
        await model.aget_query_embedding("d")
    rows = settled.of("s-1").observations
    assert [(row.label, row.input) for row in rows] == [(EMBEDDING, text) for text in "abcd"]


def test_an_embedding_model_is_named(settled: RecordedSessions) -> None:
    """The model's name is there, for what it costs."""

    class Named(MockEmbedding):
        model_name: str = "embed-1"

    Named(embed_dim=2).get_text_embedding("a")
    (row,) = settled.trace().observations
    assert (row.label, row.model) == ("embedding Named", "embed-1")


def test_an_embedding_model_around_another(settled: RecordedSessions) -> None:
    """Two models are two rows, the inner one below the outer one."""

    class Outer(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return list(MockEmbedding(embed_dim=2).get_text_embedding(text))

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

    Outer().get_text_embedding("a")
    assert settled.trace().tree() == [{"embedding Outer": [EMBEDDING]}]


def test_an_embedding_that_fails(settled: RecordedSessions) -> None:
    """The error is on its row."""

    class Broken(MockEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        Broken(embed_dim=2).get_text_embedding("a")
    (row,) = settled.trace().observations
    assert (row.level, row.status_message) == ("ERROR", "ConnectionError: no network")


def test_an_ingestion_is_its_transformations(settled: RecordedSessions) -> None:
    """One row for the pipeline, one for each transformation; documents and nodes are texts with their source."""
    pipeline = IngestionPipeline(
        transformations=[
            SentenceSplitter(chunk_size=64, chunk_overlap=0),
            SummaryExtractor(llm=TextLLM(lambda _: "A fact."), summaries=["self"], num_workers=1),
            MockEmbedding(embed_dim=4),
        ],
        disable_cache=True,
    )
    with langfuse_manager.session("s-1"):
        pipeline.run(documents=documents())
    trace = settled.trace()
    extraction = {"chain SummaryExtractor": ["generation TextLLM"] * 3}
    assert trace.tree() == [{"chain IngestionPipeline": [SPLITTER, extraction, EMBEDDING]}]
    assert {found.session_id for found in trace.observations} == {"s-1"}
    first = {"text": "Fact 0.", "source": "0.md", "id": "d0", "metadata": {"file_name": "0.md"}}
    assert trace.roots[0].input[0] == first
    assert len(trace.roots[0].output) == 3
    assert trace.one("SentenceSplitter").output[0]["text"] == "Fact 0."
    assert "embedding" not in trace.roots[0].output[0]


@pytest.mark.asyncio
async def test_an_async_ingestion(settled: RecordedSessions) -> None:
    """`arun` has the same rows."""
    transformations: list[Any] = [SentenceSplitter(chunk_size=64, chunk_overlap=0), MockEmbedding(embed_dim=4)]
    await IngestionPipeline(transformations=transformations, disable_cache=True).arun(documents=documents())
    assert settled.trace().tree() == [{"chain IngestionPipeline": [SPLITTER, EMBEDDING]}]


def test_an_index_is_made_inside_of_the_span_around_it(settled: RecordedSessions) -> None:
    """The index has a row of its own in the span."""
    with langfuse_manager.trace_span("index"):
        VectorStoreIndex.from_documents(documents(), embed_model=MockEmbedding(embed_dim=4))
    assert settled.trace().tree() == [
        {"span index": [{"chain VectorStoreIndex.from_documents": [SPLITTER, EMBEDDING]}]}
    ]


def test_metadata_that_json_does_not_know(settled: RecordedSessions) -> None:
    """Nodes may carry dates, sets and objects: all of it is written, none of it breaks the row."""

    class Thing:
        def __str__(self) -> str:
            return "a thing"

    node = TextNode(text="Hm.", id_="n1")
    node.metadata = {"when": datetime(2026, 1, 2), "tags": {"x"}, "thing": Thing(), "source": "here"}

    class Fixed:
        @dispatcher.span
        def find(self, question: str) -> list[NodeWithScore]:
            return [NodeWithScore(node=node, score=0.5)]

    Fixed().find("What?")
    (row,) = settled.trace().observations
    (written,) = row.output
    assert (written["text"], written["score"], written["source"]) == ("Hm.", 0.5, "here")
    assert written["metadata"]["when"].startswith("2026-01-02")
    assert written["metadata"]["tags"] == ["x"]


# -- what the application decorates


@dispatcher.span
def plan(topic: str, *steps: str, **options: Any) -> dict[str, Any]:
    """Make a plan."""
    with langfuse_manager.trace_span("inside"):
        return {"topic": topic, "steps": steps}


@dispatcher.span
async def aplan(topic: str) -> str:
    """Make a plan, later."""
    return plan(topic)["topic"]


def test_a_decorated_function_is_a_span(settled: RecordedSessions) -> None:
    """A decorated function's span has its arguments as input, however they were passed."""
    plan("alpacas", "feed", "comb", careful=True)
    trace = settled.trace()
    assert trace.tree() == [{"span plan": ["span inside"]}]
    row = trace.roots[0]
    assert row.input == {"topic": "alpacas", "steps": ["feed", "comb"], "careful": True}
    assert row.output == {"topic": "alpacas", "steps": ["feed", "comb"]}


@pytest.mark.asyncio
async def test_a_decorated_coroutine_is_a_span(settled: RecordedSessions) -> None:
    """What it calls is inside."""
    await aplan("alpacas")
    assert settled.trace().tree() == [{"span aplan": [{"span plan": ["span inside"]}]}]


def test_a_decorated_method_of_a_component_is_a_span(settled: RecordedSessions) -> None:
    """A decorated method is a span, also in a class of LlamaIndex whose own methods are plumbing."""

    class Careful(MockEmbedding):
        @dispatcher.span
        def check(self, text: str) -> bool:
            return bool(self.get_text_embedding(text))

    assert Careful(embed_dim=2).check("a")
    assert settled.trace().tree() == [{"span Careful": ["embedding Careful"]}]


def test_a_decorated_function_that_fails(settled: RecordedSessions) -> None:
    """The error is on its row."""

    @dispatcher.span
    def broken() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        broken()
    (row,) = settled.trace().observations
    assert (row.name, row.level, row.status_message) == ("broken", "ERROR", "LookupError: nothing there")
