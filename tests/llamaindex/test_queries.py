"""Queries of LlamaIndex: engines, retrievers, rerankers and synthesisers."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.postprocessor import LLMRerank, MetadataReplacementPostProcessor, SimilarityPostprocessor
from llama_index.core.query_engine import RouterQueryEngine, TransformQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import QueryFusionRetriever, RecursiveRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from llama_index.core.tools.types import ToolMetadata

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.alpacas import ANSWER, QUERY, RETRIEVAL, consumed
from llamaindex.scripted import TextLLM


async def aconsumed(response: Any) -> str:
    """Read a streamed answer to its end."""
    return "".join([piece async for piece in response.response_gen])


# -- query engines


def test_a_query_is_retrieval_and_synthesis(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Twins and plumbing make no rows; question and answer are texts."""
    engine = index.as_query_engine(llm=TextLLM(["They hum."]))
    with langfuse_manager.session("s-1", "u-1"):
        assert str(engine.query("What do alpacas do?")) == "They hum."
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    assert {found.session_id for found in trace.observations} == {"s-1"}
    query = trace.one("RetrieverQueryEngine")
    assert (query.input, query.output) == ("What do alpacas do?", "They hum.")


@pytest.mark.asyncio
async def test_an_async_query_has_the_same_rows(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """`aquery`, `aretrieve` and `asynthesize` look like their sync forms."""
    await index.as_query_engine(llm=TextLLM(["They hum."])).aquery("What do alpacas do?")
    assert settled.trace().tree() == [QUERY]


def test_nodes_are_texts_with_score_and_source(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """A retriever's output shows each node's text, score, source, id and metadata, and no embedding."""
    nodes = index.as_retriever(similarity_top_k=1).retrieve("hum?")
    retrieval = settled.trace().one("VectorIndexRetriever")
    assert retrieval.input == "hum?"
    assert retrieval.output == [
        {
            "text": nodes[0].node.get_content(),
            "score": nodes[0].score,
            "source": nodes[0].node.metadata["file_name"],
            "id": nodes[0].node.node_id,
            "metadata": nodes[0].node.metadata,
        }
    ]


def test_an_embedding_shows_how_many_and_how_long(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Vectors are not for reading."""
    index.as_retriever().retrieve("hum?")
    row = settled.trace().one("MockEmbedding")
    assert (row.type, row.input, row.output) == ("embedding", "hum?", {"embeddings": 1, "dimensions": 4})


def test_a_synthesiser_has_question_nodes_and_answer(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Used by itself it is a root."""
    synthesiser = get_response_synthesizer(llm=TextLLM(["They hum."]), response_mode=ResponseMode.COMPACT)
    node = NodeWithScore(node=TextNode(text="Alpacas hum.", id_="n1"), score=0.5)
    synthesiser.synthesize("What?", nodes=[node])
    trace = settled.trace()
    assert trace.tree() == [ANSWER]
    row = trace.one("CompactAndRefine")
    assert row.input == {"query": "What?", "nodes": [{"text": "Alpacas hum.", "score": 0.5, "id": "n1"}]}
    assert row.output == "They hum."


def test_each_model_call_of_a_tree_of_summaries_shows(settled: RecordedSessions) -> None:
    """A synthesiser that asks several times has as many generations."""
    synthesiser = get_response_synthesizer(llm=TextLLM(["One.", "Two."]), response_mode=ResponseMode.ACCUMULATE)
    synthesiser.get_response("What?", ["Alpacas hum.", "Alpacas eat."])
    assert settled.trace().tree() == [{"chain Accumulate": ["generation TextLLM", "generation TextLLM"]}]


def test_a_reranker_is_a_row_with_nodes_before_and_after(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """LlamaIndex sends no event for it; its model call is inside of it."""
    rerank = LLMRerank(llm=TextLLM(["Doc: 2, Relevance: 9"]), top_n=1)
    engine = index.as_query_engine(llm=TextLLM(["They eat."]), node_postprocessors=[rerank])
    engine.query("What?")
    trace = settled.trace()
    assert trace.tree() == [
        {"chain RetrieverQueryEngine": [RETRIEVAL, {"chain LLMRerank": ["generation TextLLM"]}, ANSWER]}
    ]
    row = trace.one("LLMRerank")
    assert row.input["query"] == "What?"
    assert [len(row.input["nodes"]), len(row.output)] == [2, 1]
    assert row.output[0]["score"] == 9.0


@pytest.mark.asyncio
async def test_a_sync_postprocessor_in_an_async_query_is_one_row(settled: RecordedSessions) -> None:
    """LlamaIndex runs the sync method in a thread: the same row."""
    nodes = [NodeWithScore(node=TextNode(text="Alpacas hum."), score=score) for score in (0.9, 0.1)]
    with langfuse_manager.session("s-1"):
        await SimilarityPostprocessor(similarity_cutoff=0.5).apostprocess_nodes(nodes, QueryBundle("What?"))
    (row,) = settled.of("s-1").observations
    assert (row.label, len(row.input["nodes"]), len(row.output)) == ("chain SimilarityPostprocessor", 2, 1)


@pytest.mark.asyncio
async def test_an_async_reranker_has_its_row(settled: RecordedSessions) -> None:
    """Releases with an async method of its own make no span for it: the row is there all the same."""
    node = NodeWithScore(node=TextNode(text="Alpacas hum."), score=0.5)
    rerank = LLMRerank(llm=TextLLM(["Doc: 1, Relevance: 7"]), top_n=1)
    await rerank.apostprocess_nodes([node], QueryBundle("What?"))
    assert settled.trace().tree() == [{"chain LLMRerank": ["generation TextLLM"]}]


def test_a_nodes_text_is_what_it_was_when_it_came(settled: RecordedSessions) -> None:
    """A sentence window puts another text into the node itself: the rows before it show what they had."""
    node = TextNode(text="hum.", metadata={"window": "Alpacas hum."}, id_="n1")

    class Fixed(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return [NodeWithScore(node=node, score=1.0)]

    nodes = Fixed().retrieve("What?")
    MetadataReplacementPostProcessor(target_metadata_key="window").postprocess_nodes(nodes)
    retrieval, replacement = settled.traces
    assert retrieval.roots[0].output[0]["text"] == "hum."
    assert replacement.roots[0].input["nodes"][0]["text"] == "hum."
    assert replacement.roots[0].output[0]["text"] == "Alpacas hum."


def test_a_router_shows_its_choice_and_the_engine_it_chose(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The selection is a row with the choices, the chosen engine's query is beside it."""
    choose = TextLLM(['[{"choice": 1, "reason": "about alpacas"}]'])
    engine = index.as_query_engine(llm=TextLLM(["They hum."]))
    router = RouterQueryEngine(
        selector=LLMSingleSelector.from_defaults(llm=choose),
        query_engine_tools=[QueryEngineTool(engine, ToolMetadata(name="facts", description="Facts."))],
        llm=TextLLM([]),
    )
    router.query("What?")
    assert settled.trace().tree() == [
        {"chain RouterQueryEngine": [{"chain LLMSingleSelector": ["generation TextLLM"]}, QUERY]}
    ]


def test_a_transformed_query_shows_the_transformation(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The engine around an engine, the transformation's model call, and the inner query."""
    engine = index.as_query_engine(llm=TextLLM(["They hum."]))
    hyde = HyDEQueryTransform(llm=TextLLM(["Alpacas hum all day."]), include_original=True)
    TransformQueryEngine(engine, hyde).query("What?")
    (root,) = settled.trace().tree()
    transformation, retrieval_and_answer = root["chain TransformQueryEngine"][0], root["chain TransformQueryEngine"][1:]  # type: ignore[index, call-overload]
    assert transformation == {"chain HyDEQueryTransform": ["generation TextLLM"]}
    assert len(retrieval_and_answer) == 1


def test_retrievers_around_retrievers_nest(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Different objects are different rows, even where the inner method is the private one."""
    inner = index.as_retriever(similarity_top_k=1)
    RecursiveRetriever("root", retriever_dict={"root": inner}).retrieve("What?")
    assert settled.trace().tree() == [{"retriever RecursiveRetriever": [RETRIEVAL]}]


def test_a_fusion_of_queries_shows_the_queries_it_made(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """One generation for the variations, one retrieval for each."""
    fusion = QueryFusionRetriever(
        [index.as_retriever(similarity_top_k=1)], llm=TextLLM(["hum?\neat?"]), num_queries=2, use_async=False
    )
    fusion.retrieve("What?")
    (root,) = settled.trace().roots
    assert root.label == "retriever QueryFusionRetriever"
    assert [child.label for child in root.children] == ["generation TextLLM", *["retriever VectorIndexRetriever"] * 2]


def test_an_error_is_on_every_row_that_it_went_through(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """A model fails during a query: the generation, the synthesis and the query are ERROR, the retrieval is not."""
    engine = index.as_query_engine(llm=TextLLM([ConnectionError("no network")]))
    with pytest.raises(ConnectionError):
        engine.query("What?")
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    levels = {found.name: found.level for found in trace.observations}
    assert levels["VectorIndexRetriever"] == levels["MockEmbedding"] == "DEFAULT"
    assert levels["RetrieverQueryEngine"] == levels["CompactAndRefine"] == levels["TextLLM"] == "ERROR"


def test_an_engine_of_the_applications_own(settled: RecordedSessions) -> None:
    """A custom engine's query is a row with its class's name, and spans inside nest there."""

    class Own(BaseQueryEngine):
        def _get_prompt_modules(self) -> dict[str, Any]:
            return {}

        def _query(self, query_bundle: QueryBundle) -> Any:
            with langfuse_manager.trace_span("look"):
                return StreamingResponse(response_gen=iter(()), response_txt="Yes.")

        async def _aquery(self, query_bundle: QueryBundle) -> Any:
            raise NotImplementedError

    response = Own(None).query("Sure?")
    assert list(response.response_gen) == []
    assert settled.trace().tree() == [{"chain Own": ["span look"]}]


# -- streaming queries


def test_a_streaming_query_stays_open_until_it_is_read(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """A streaming query's model call begins when the answer is read, inside the query; the output is the whole text."""
    response = index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).query("What?")
    assert {"CompactAndRefine", "RetrieverQueryEngine"} <= set(settled.still_open)
    assert consumed(response) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    for name in ("RetrieverQueryEngine", "CompactAndRefine", "TextLLM"):
        assert trace.one(name).output == "They hum softly."
    assert trace.one("TextLLM").first_token
    assert trace.one("RetrieverQueryEngine").ended_ns >= trace.one("TextLLM").ended_ns


@pytest.mark.asyncio
async def test_an_async_streaming_query_is_the_same(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The async model begins a sync one when it is read: still one generation, inside."""
    response = await index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).aquery("What?")
    assert await aconsumed(response) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    assert trace.one("RetrieverQueryEngine").output == trace.one("TextLLM").output == "They hum softly."


def test_an_answer_read_by_another_user_stays_with_the_asker(
    settled: RecordedSessions, index: VectorStoreIndex
) -> None:
    """What is made while it is read belongs to the session of the question in every row, spans of one's own too."""

    def answer(prompt: str) -> str:
        with langfuse_manager.trace_span("inside the model"):
            return "They hum."

    with langfuse_manager.session("asker", "u-1"):
        response = index.as_query_engine(llm=TextLLM(answer), streaming=True).query("What?")
    with langfuse_manager.session("reader", "u-2"):
        consumed(response)
        assert langfuse_manager.current_session_id == "reader"
    assert {found.session_id for found in settled.observations} == {"asker"}
    assert "inside the model" in {found.name for found in settled.trace().observations}


@pytest.mark.asyncio
async def test_an_async_answer_read_by_another_user_stays_with_the_asker(
    settled: RecordedSessions, index: VectorStoreIndex
) -> None:
    """An async answer stays in the asker's session; between two pieces the reader's own session is active."""

    def answer(prompt: str) -> str:
        with langfuse_manager.trace_span("inside the model"):
            return "They hum."

    with langfuse_manager.session("asker", "u-1"):
        response = await index.as_query_engine(llm=TextLLM(answer), streaming=True).aquery("What?")
    with langfuse_manager.session("reader", "u-2"):
        async for _ in response.response_gen:
            assert langfuse_manager.current_session_id == "reader"
            with langfuse_manager.trace_span("reading"):
                pass
    assert {found.name for found in settled.of("reader").observations} == {"reading"}
    assert "inside the model" in {found.name for found in settled.of("asker").observations}
    assert settled.of("asker").traces[0].roots[0].label == "chain RetrieverQueryEngine"
    assert [found.label for found in settled.of("reader").traces[0].roots] == ["span reading"]


def test_an_abandoned_answer_ends_with_what_was_read(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Every row of an answer whose reader stops after a word ends as cancelled, with that word."""
    response = index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).query("What?")
    assert next(response.response_gen) == "They"
    response.response_gen.close()
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    for name in ("RetrieverQueryEngine", "CompactAndRefine", "TextLLM"):
        found = trace.one(name)
        assert (found.level, found.status_message, found.output) == ("DEFAULT", "cancelled", "They")


@pytest.mark.asyncio
async def test_an_abandoned_async_answer_ends_with_what_was_read(
    settled: RecordedSessions, index: VectorStoreIndex
) -> None:
    """Every row of an abandoned async answer ends as cancelled, with the text that was read."""
    response = await index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).aquery("What?")
    assert await anext(response.response_gen) == "They"
    await response.response_gen.aclose()
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    assert [trace.one(name).status_message for name in ("RetrieverQueryEngine", "TextLLM")] == ["cancelled"] * 2
    assert trace.one("TextLLM").output == "They"


def test_an_answer_that_is_never_read_ends_when_it_is_gone(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """An answer that is never read has no generation, and its rows end as cancelled when it is garbage collected."""
    index.as_query_engine(llm=TextLLM([]), streaming=True).query("What?")
    gc.collect()
    trace = settled.trace()
    # Whether the model call begins with the query or with the reading differs between releases.
    synthesis = "chain CompactAndRefine" if len(trace.observations) == 4 else ANSWER
    assert trace.tree() == [{"chain RetrieverQueryEngine": [RETRIEVAL, synthesis]}]
    assert trace.one("RetrieverQueryEngine").status_message == "cancelled"


def test_an_answer_that_breaks_while_it_is_read(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The error is the reader's, and on the rows with what had come."""
    response = index.as_query_engine(llm=TextLLM([ConnectionError("no network")]), streaming=True).query("What?")
    with pytest.raises(ConnectionError):
        consumed(response)
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    assert trace.one("RetrieverQueryEngine").level == trace.one("TextLLM").level == "ERROR"


def test_a_streamed_answer_can_be_read_as_text(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """`str(response)` reads it, too."""
    response = index.as_query_engine(llm=TextLLM(["They hum."]), streaming=True).query("What?")
    assert str(response) == "They hum."
    assert settled.trace().tree() == [QUERY]
