"""What LlamaIndex has no spans for: indices that are built and changed, async rerankers and async programs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import Document, PropertyGraphIndex, SummaryIndex, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.indices.property_graph import SimpleLLMPathExtractor
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.postprocessor.rankGPT_rerank import RankGPTRerank
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from pydantic import BaseModel

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_llamaindex import uninstrument
from llamaindex.alpacas import ANSWER, RETRIEVAL
from llamaindex.releases import TAKES_WHAT_DOES_NOT_FIT
from llamaindex.scripted import ScriptedLLM, TextLLM, call, say, tool

SPLITTER, EMBEDDING = "chain SentenceSplitter", "embedding MockEmbedding"


class Llama(BaseModel):
    """A llama."""

    name: str


def alpacas() -> list[NodeWithScore]:
    """Return two nodes."""
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in ("Alpacas hum.", "Alpacas eat.")]


def test_each_change_of_an_index_is_one_trace(settled: RecordedSessions) -> None:
    """Building, inserting, updating and refreshing: one root each, with the documents as input."""
    model = MockEmbedding(embed_dim=3)
    with langfuse_manager.session("s-1", "u-1"):
        index = VectorStoreIndex.from_documents([Document(text="hum", id_="d1")], embed_model=model)
        index.insert(Document(text="hay", id_="d2"))
        index.update_ref_doc(Document(text="straw", id_="d2"))
        index.refresh_ref_docs([Document(text="grass", id_="d2")])
        VectorStoreIndex([TextNode(text="a"), TextNode(text="b")], embed_model=model)
        SummaryIndex.from_documents([Document(text="hum")])
    names = ["from_documents", "insert", "update_ref_doc", "refresh_ref_docs"]
    assert [trace.tree() for trace in settled.of("s-1").traces] == [
        *([{f"chain VectorStoreIndex.{name}": [SPLITTER, EMBEDDING]}] for name in names),
        [{"chain VectorStoreIndex.build_index_from_nodes": [EMBEDDING]}],
        [{"chain SummaryIndex.from_documents": [SPLITTER]}],
    ]
    roots = [trace.roots[0] for trace in settled.of("s-1").traces]
    assert [[node["text"] for node in root.input] for root in roots] == [
        *(["hum"], ["hay"], ["straw"], ["grass"], ["a", "b"], ["hum"])
    ]
    assert {(row.session_id, row.user_id) for row in settled.observations} == {("s-1", "u-1")}


@pytest.mark.asyncio
async def test_async_changes_of_indices_by_two_users_at_once(settled: RecordedSessions) -> None:
    """Each change is one trace of its own user."""

    async def use(user: str) -> None:
        index = VectorStoreIndex([], embed_model=MockEmbedding(embed_dim=3))
        with langfuse_manager.session(f"s-{user}", user):
            await index.ainsert(Document(text=user))
            await index.ainsert_nodes([TextNode(text=user)])

    if not hasattr(VectorStoreIndex, "ainsert"):
        pytest.skip("this release inserts synchronously only")
    await asyncio.gather(use("ada"), use("bob"))
    for user in ("ada", "bob"):
        replay = settled.of(f"s-{user}")
        assert [trace.tree() for trace in replay.traces] == [
            [{"chain VectorStoreIndex.ainsert": [SPLITTER, EMBEDDING]}],
            [{"chain VectorStoreIndex.ainsert_nodes": [EMBEDDING]}],
        ]
        assert replay.traces[0].roots[0].input[0]["text"] == user


def test_a_property_graph_is_one_trace(settled: RecordedSessions) -> None:
    """Extractors and embeddings, which LlamaIndex runs in event loops of their own, stand below it."""
    PropertyGraphIndex.from_documents(
        [Document(text="hum")],
        llm=MockLLM(),
        embed_model=MockEmbedding(embed_dim=3),
        kg_extractors=[SimpleLLMPathExtractor(llm=MockLLM())],
        show_progress=False,
    )
    (root,) = settled.trace().roots
    assert root.label == "chain PropertyGraphIndex.from_documents"
    assert "generation MockLLM" in [row.label for row in root.walk()]


def test_an_index_that_cannot_be_built(settled: RecordedSessions) -> None:
    """The error is on the row of the index, too, and reaches the application."""

    class Broken(MockEmbedding):
        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("no network")

    with pytest.raises(ConnectionError):
        VectorStoreIndex.from_documents([Document(text="hum")], embed_model=Broken(embed_dim=3))
    (root,) = settled.trace().roots
    assert (root.label, root.level) == ("chain VectorStoreIndex.from_documents", "ERROR")


@pytest.mark.asyncio
async def test_two_rerankers_in_an_async_query(settled: RecordedSessions) -> None:
    """Each has its row with its own model call below it."""
    index = VectorStoreIndex(
        [node.node for node in alpacas()],  # type: ignore[misc]
        embed_model=MockEmbedding(embed_dim=4),
    )
    settled.clear()
    rerankers = [
        LLMRerank(llm=TextLLM(["Doc: 1, Relevance: 7\nDoc: 2, Relevance: 3"]), top_n=2),
        RankGPTRerank(llm=ScriptedLLM([say("[2] > [1]")]), top_n=1),
    ]
    engine = index.as_query_engine(llm=TextLLM(["They hum."]), node_postprocessors=rerankers)
    await engine.aquery("What?")
    reranking = [{"chain LLMRerank": ["generation TextLLM"]}, {"chain RankGPTRerank": ["generation ScriptedLLM"]}]
    assert settled.trace().tree() == [{"chain RetrieverQueryEngine": [RETRIEVAL, *reranking, ANSWER]}]
    row = settled.trace().one("RankGPTRerank")
    assert (row.input["query"], len(row.input["nodes"]), len(row.output)) == ("What?", 2, 1)


@pytest.mark.asyncio
async def test_a_reranker_of_the_application(settled: RecordedSessions) -> None:
    """A class that was made after `instrument`, and defines the public method itself, has one row; so has a failure."""

    class Mine(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> list[NodeWithScore]:
            return nodes

        async def apostprocess_nodes(self, nodes: Any, query_bundle: Any = None, query_str: Any = None) -> Any:
            async with langfuse_manager.trace_span("mine"):
                await asyncio.sleep(0)
            if not nodes:
                raise LookupError("nothing")
            return (await super().apostprocess_nodes(nodes, query_bundle))[:1]

    await Mine().apostprocess_nodes(alpacas(), QueryBundle("What?"))
    with pytest.raises(LookupError):
        await Mine().apostprocess_nodes([], QueryBundle("What?"))
    well, ill = settled.traces
    assert [well.tree(), ill.tree()] == [[{"chain Mine": ["span mine"]}]] * 2
    assert len(well.roots[0].output) == 1
    assert (ill.roots[0].level, ill.roots[0].status_message) == ("ERROR", "LookupError: nothing")


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kind", ["function", "text"])
async def test_a_program_is_one_generation(settled: RecordedSessions, way: str, kind: str) -> None:
    """Sync and async alike: one generation whose output is the object, and no tool."""
    program: Any
    if kind == "function":
        model = ScriptedLLM([call("Llama", {"name": "Luna"})], raw={"usage": {"input_tokens": 3, "output_tokens": 2}})
        program = FunctionCallingProgram.from_defaults(Llama, prompt_template_str="Name a {animal}.", llm=model)
    else:
        text = TextLLM(['{"name": "Luna"}'])
        program = LLMTextCompletionProgram.from_defaults(
            output_cls=Llama, prompt_template_str="Name a {animal}.", llm=text
        )
    made = program(animal="llama") if way == "sync" else await program.acall(animal="llama")
    assert made == Llama(name="Luna")
    (row,) = settled.trace().observations
    assert (row.type, row.output) == ("generation", {"name": "Luna"})
    assert "Name a llama." in str(row.input)
    if kind == "function":
        assert row.usage == {"input": 3, "output": 2}


@pytest.mark.asyncio
@pytest.mark.skipif(TAKES_WHAT_DOES_NOT_FIT, reason="this release of LlamaIndex raises no error")
async def test_a_program_whose_answer_does_not_fit(settled: RecordedSessions) -> None:
    """The generation has the error that the application gets."""
    model = ScriptedLLM([call("Llama", {"age": 3})])
    program = FunctionCallingProgram.from_defaults(Llama, prompt_template_str="Go.", llm=model)
    with pytest.raises(ValueError, match="name"):
        await program.acall()
    (row,) = settled.trace().observations
    assert (row.type, row.level) == ("generation", "ERROR")


@pytest.mark.asyncio
async def test_tools_called_by_the_application_stay_tools(settled: RecordedSessions) -> None:
    """`apredict_and_call` with the application's own tools is no program: the tool has its row."""

    async def lookup(city: str) -> str:
        """Tell the weather."""
        return f"sunny in {city}"

    await ScriptedLLM([call("lookup", {"city": "Lima"})]).apredict_and_call([tool(lookup)], user_msg="Go.")
    (root,) = settled.trace().roots
    assert [row.label for row in root.children] == ["generation ScriptedLLM", "tool lookup"]


def test_classes_are_as_before_after_uninstrument() -> None:
    """Nothing of the wrapping is left in LlamaIndex's classes."""
    uninstrument()
    for kind in (VectorStoreIndex, LLMRerank, RankGPTRerank, FunctionCallingProgram):
        for base in kind.__mro__:
            ours = [name for name, value in vars(base).items() if "unspanned" in str(getattr(value, "__code__", ""))]
            assert ours == []
