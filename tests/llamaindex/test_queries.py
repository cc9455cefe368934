"""Queries of LlamaIndex: engines, retrievers, rerankers, synthesisers and chat engines."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex, get_response_synthesizer
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.memory import ChatMemoryBuffer
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
from llamaindex.scripted import ScriptedLLM, TextLLM

RETRIEVAL = {"retriever VectorIndexRetriever": ["embedding MockEmbedding"]}
ANSWER = {"chain CompactAndRefine": ["generation TextLLM"]}
QUERY = {"chain RetrieverQueryEngine": [RETRIEVAL, ANSWER]}


@pytest.fixture
def index(sessions: RecordedSessions) -> VectorStoreIndex:
    """Two facts about alpacas; what it took to index them is forgotten."""
    documents = [
        Document(text="Alpacas hum.", metadata={"file_name": "alpacas.md"}),
        Document(text="Alpacas eat grass.", metadata={"file_name": "food.md"}),
    ]
    made = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=4))
    sessions.clear()
    return made


def consumed(response: Any) -> str:
    """Read a streamed answer to its end."""
    return "".join(response.response_gen)


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
async def test_an_async_reranker_shows_its_model_call_only(settled: RecordedSessions) -> None:
    """LlamaIndex makes no span for an async method of a postprocessor's own: there is no signal to make a row of."""
    node = NodeWithScore(node=TextNode(text="Alpacas hum."), score=0.5)
    rerank = LLMRerank(llm=TextLLM(["Doc: 1, Relevance: 7"]), top_n=1)
    await rerank.apostprocess_nodes([node], QueryBundle("What?"))
    assert settled.trace().tree() == ["generation TextLLM"]


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
    """Its query is a row by its class's name, and what it does inside nests there."""

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
    """Its model call begins when the answer is read, and is inside all the same; the output is the whole text."""
    response = index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).query("What?")
    assert sorted(settled.still_open) == ["CompactAndRefine", "RetrieverQueryEngine"]
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
    """The same for an async answer; between two pieces the reader's own session is the active one."""

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
    """Its reader stops after a word: every row ends as cancelled, with that word."""
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
    """The same for an async answer."""
    response = await index.as_query_engine(llm=TextLLM(["They hum softly."]), streaming=True).aquery("What?")
    assert await anext(response.response_gen) == "They"
    await response.response_gen.aclose()
    trace = settled.trace()
    assert trace.tree() == [QUERY]
    assert [trace.one(name).status_message for name in ("RetrieverQueryEngine", "TextLLM")] == ["cancelled"] * 2
    assert trace.one("TextLLM").output == "They"


def test_an_answer_that_is_never_read_ends_when_it_is_gone(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Nobody iterates over it: no generation, and the rows end as cancelled when the answer is collected."""
    index.as_query_engine(llm=TextLLM([]), streaming=True).query("What?")
    gc.collect()
    trace = settled.trace()
    assert trace.tree() == [{"chain RetrieverQueryEngine": [RETRIEVAL, "chain CompactAndRefine"]}]
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


# -- chat engines


def chat_engine(index: VectorStoreIndex, mode: str, *script: str) -> Any:
    """Return a chat engine whose model says *script*."""
    options: dict[str, Any] = {"llm": TextLLM(list(script)), "memory": ChatMemoryBuffer.from_defaults()}
    return SimpleChatEngine.from_defaults(**options) if mode == "simple" else index.as_chat_engine(mode, **options)


TURNS = {
    "simple": [{"chain SimpleChatEngine": ["generation TextLLM"]}],
    "context": [{"chain ContextChatEngine": [RETRIEVAL, ANSWER]}],
    "condense_plus_context": [{"chain CondensePlusContextChatEngine": [RETRIEVAL, ANSWER]}],
}


@pytest.mark.parametrize("mode", TURNS)
def test_a_turn_of_a_chat_engine(settled: RecordedSessions, index: VectorStoreIndex, mode: str) -> None:
    """Message and answer are texts; what the engine did is inside."""
    chat_engine(index, mode, "They hum.").chat("What do they do?")
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert (trace.roots[0].input, trace.roots[0].output) == ("What do they do?", "They hum.")


@pytest.mark.parametrize("mode", ["simple", "context", "condense_plus_context"])
def test_a_streamed_turn_ends_with_the_whole_answer(
    settled: RecordedSessions, index: VectorStoreIndex, mode: str
) -> None:
    """A thread of LlamaIndex reads the model and writes the history: the turn ends with it."""
    response = chat_engine(index, mode, "They hum softly.").stream_chat("What do they do?")
    assert "".join(response.response_gen) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert trace.roots[0].output == "They hum softly."
    assert trace.one("TextLLM").first_token
    assert trace.roots[0].ended_ns >= trace.one("TextLLM").ended_ns


@pytest.mark.asyncio
async def test_a_chat_engine_around_a_query_engine(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """The query is a row of its own inside of the turn, streamed or not."""
    engine = chat_engine(index, "condense_question", "They hum.", "So do they hum?", "They do.")
    await engine.achat("What do they do?")
    response = await engine.astream_chat("Really?")
    assert "".join([piece async for piece in response.async_response_gen()]) == "They do."
    first, second = settled.traces
    assert first.tree() == [{"chain CondenseQuestionChatEngine": [QUERY]}]
    assert second.tree() == [{"chain CondenseQuestionChatEngine": ["generation TextLLM", QUERY]}]


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["simple", "context", "condense_plus_context"])
async def test_an_async_streamed_turn(settled: RecordedSessions, index: VectorStoreIndex, mode: str) -> None:
    """The same with a task in place of the thread."""
    response = await chat_engine(index, mode, "They hum softly.").astream_chat("What do they do?")
    assert "".join([piece async for piece in response.async_response_gen()]) == "They hum softly."
    trace = settled.trace()
    assert trace.tree() == TURNS[mode]
    assert trace.roots[0].output == "They hum softly."


@pytest.mark.asyncio
async def test_a_streamed_turn_that_breaks(settled: RecordedSessions) -> None:
    """The model fails while the turn is read: the error is on the turn and on the generation."""

    llm = ScriptedLLM([ConnectionError("no network")])
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=ChatMemoryBuffer.from_defaults())
    response = await engine.astream_chat("Hm?")
    with pytest.raises(ConnectionError):
        async for _ in response.async_response_gen():
            pass
    trace = settled.trace()
    assert trace.tree() == [{"chain SimpleChatEngine": ["generation ScriptedLLM"]}]
    assert [found.level for found in trace.observations] == ["ERROR", "ERROR"]


def test_the_next_turn_has_the_history(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """Two turns are two traces of one session; the second's model sees the first."""
    engine = chat_engine(index, "simple", "Hello.", "They hum.")
    with langfuse_manager.session("s-1"):
        engine.chat("Hi.")
        engine.chat("What do they do?")
    first, second = settled.of("s-1").traces
    assert [first.tree(), second.tree()] == [TURNS["simple"]] * 2
    assert second.one("TextLLM").input == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "What do they do?"},
    ]
