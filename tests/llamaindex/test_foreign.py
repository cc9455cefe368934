"""OpenInference attached as well: ours records once, theirs is untouched."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.embeddings import MockEmbedding
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langfuse_integration import langfuse_manager
from langfuse_integration.langfuse_sdk.provider import provider as our_provider
from langfuse_integration.recording import otel_spans
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_llamaindex import foreign, instrument, uninstrument
from llamaindex.scripted import ScriptedLLM, TextLLM, call, tool
from peers.waiting import until

# It does nothing with a llama-index-core before 0.14.19, and so it is not there with one.
LlamaIndexInstrumentor = pytest.importorskip("openinference.instrumentation.llama_index").LlamaIndexInstrumentor
AGENT = [{"agent weather": ["generation ScriptedLLM", {"tool look": ["span inside"]}, "generation ScriptedLLM"]}]


@pytest.fixture(autouse=True)
def as_new(recorded: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the dispatcher as if for the first time."""
    monkeypatch.setattr(foreign, "_seen", [])
    monkeypatch.setattr(otel_spans, "duplicate_scopes", set())


@pytest.fixture
def theirs() -> Iterator[InMemorySpanExporter]:
    """OpenInference with a provider and an exporter of its own, as for another back end."""
    exporter = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=own)
    yield exporter
    instrumentor.uninstrument()


def look(city: str) -> str:
    """Look."""
    with langfuse_manager.trace_span("inside"):
        return city


async def use() -> None:
    """Run an agent whose tool records a span of the application's own."""
    llm = ScriptedLLM([call("look", {"city": "Rome"}), "Sunny."])
    await FunctionAgent(name="weather", tools=[tool(look)], llm=llm).run("Weather?")


@pytest.mark.asyncio
async def test_both_record_an_agent_each_for_itself(
    settled: RecordedSessions, theirs: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """Our tree is what it is without them, theirs has as many spans as without us; nobody is warned."""
    with langfuse_manager.session("s-1"):
        await use()
    assert settled.trace().tree() == AGENT
    assert {found.session_id for found in settled.observations} == {"s-1"}
    together = Counter(span.name for span in theirs.get_finished_spans())
    theirs.clear()
    uninstrument()
    await use()
    alone = Counter(span.name for span in theirs.get_finished_spans())
    instrument()
    assert together == alone
    assert sum(alone.values()) > 5
    assert caplog.records == []


def test_both_record_a_streaming_query(settled: RecordedSessions, theirs: InMemorySpanExporter) -> None:
    """Both replace the answer's generator: it gives what it gave, and both trees are whole."""
    index = VectorStoreIndex.from_documents([Document(text="Alpacas hum.")], embed_model=MockEmbedding(embed_dim=4))
    settled.clear()
    theirs.clear()
    response = index.as_query_engine(llm=TextLLM(["They hum."]), streaming=True).query("What?")
    assert "".join(response.response_gen) == "They hum."
    assert settled.trace().tree() == [
        {
            "chain RetrieverQueryEngine": [
                {"retriever VectorIndexRetriever": ["embedding MockEmbedding"]},
                {"chain CompactAndRefine": ["generation TextLLM"]},
            ]
        }
    ]
    traces = {span.context.trace_id for span in theirs.get_finished_spans() if span.context is not None}
    assert len(traces) == 1


@pytest.mark.asyncio
async def test_theirs_before_ours(settled: RecordedSessions, theirs: InMemorySpanExporter) -> None:
    """Whoever is attached first: their spans never stand above ours."""
    uninstrument()
    instrument()
    await use()
    assert settled.trace().tree() == AGENT


@pytest.mark.asyncio
async def test_one_warning_when_theirs_would_reach_langfuse(
    sessions: RecordedSessions, caplog: pytest.LogCaptureFixture
) -> None:
    """With a provider whose spans go to Langfuse theirs give way there; one warning names both and the cure."""
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=our_provider)
    try:
        await use()
        await use()
    finally:
        instrumentor.uninstrument()
    (warning,) = caplog.records
    assert "OpenInference's LlamaIndexInstrumentor and this package record the same runs" in warning.getMessage()
    assert Counter(found.name for found in sessions.observations if found.is_act) == {"look": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
async def test_both_record_a_streamed_answer(sessions: RecordedSessions, way: str, order: str) -> None:
    """Theirs has the same spans as without ours, whoever came first; ours ends its rows with the whole answer."""

    async def ask() -> list[str]:
        exporter.clear()
        if way == "sync":
            text = "".join(engine.query("What?").response_gen)
        else:
            response = await engine.aquery("What?")
            text = "".join([piece async for piece in response.response_gen])
        assert text == "They hum softly."
        await asyncio.to_thread(until, lambda: "CompactAndRefine" in str(names()))
        return names()

    def names() -> list[str]:
        return sorted(span.name for span in exporter.get_finished_spans())

    exporter, own = InMemorySpanExporter(), TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    index = VectorStoreIndex.from_documents([Document(text="hum")], embed_model=MockEmbedding(embed_dim=4))
    engine: Any = index.as_query_engine(llm=TextLLM(lambda _: "They hum softly."), streaming=True)
    instrumentor = LlamaIndexInstrumentor()
    uninstrument()
    if order == "ours first":
        instrument()
    instrumentor.instrument(tracer_provider=own)
    try:
        uninstrument()
        without = await ask()
        instrument()
        sessions.clear()
        assert await ask() == without
    finally:
        instrumentor.uninstrument()
    (root,) = sessions.trace().roots
    assert [child.label for child in root.children] == ["retriever VectorIndexRetriever", "chain CompactAndRefine"]
    assert root.output == root.children[1].output == "They hum softly."
