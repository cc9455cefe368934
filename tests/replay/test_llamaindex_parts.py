"""Tools, retrievers and embedding models of LlamaIndex answer from the recording by choice: nothing happens again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.tools import FunctionTool, RetrieverTool

import langfuse_integration_llamaindex
from langfuse_integration.testing import NotRecorded, replay
from langfuse_integration.testing_kit.replay import session_file
from langfuse_integration.testing_kit.replay.fork import step_at
from llamaindex.scripted import ScriptedLLM, call, say
from replay.recordings import record

pytestmark = [
    pytest.mark.llamaindex,
    # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

RECORDED: Any = {"tools": "recorded", "retrievers": "recorded", "embeddings": "recorded"}
effects: list[str] = []


@pytest.fixture(autouse=True)
def instrumented() -> Iterator[None]:
    """Trace LlamaIndex, and forget the side effects of other tests."""
    effects.clear()
    langfuse_integration_llamaindex.instrument()
    yield
    langfuse_integration_llamaindex.uninstrument()


class Counted(MockEmbedding):
    """An embedding model that counts its calls; 0.1 has no short binary form."""

    def _get_query_embedding(self, query: str) -> list[float]:
        effects.append(f"embed {query}")
        return [0.1, 0.5, float(len(query)), 1.0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)


def search(query: str) -> str:
    """Search the library."""
    effects.append(f"search {query}")
    if query == "straw":
        raise ValueError("no straw here")
    return f"found {query}"


SCRIPTS = (
    [call("handoff", {"to_agent": "herder", "reason": "It knows."}, "c0")],
    [call("search", {"query": "hay"}, "c1"), call("search", {"query": "straw"}, "c2"), say("Hay.")],
)
Models = Callable[[int], ScriptedLLM]


def live(agent: int) -> ScriptedLLM:
    """Return the model of an agent."""
    return ScriptedLLM(SCRIPTS[agent])


def unplugged(agent: int) -> ScriptedLLM:
    """Return a model that must not be asked."""
    return ScriptedLLM([AssertionError("the model was called")] * 9)


def run(models: Models, *, is_async: bool) -> list[Any]:
    """Index, retrieve, call tools with and without agents, one of which hands over, and embed; return what came."""
    embedding = Counted(embed_dim=4)
    documents = [Document(text=f"Text {number}.", id_=f"d{number}", metadata={"page": number}) for number in range(3)]

    async def main() -> list[Any]:
        index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
        retriever = index.as_retriever(similarity_top_k=2)
        nodes = await retriever.aretrieve("hay?") if is_async else retriever.retrieve("hay?")
        tool = FunctionTool.from_defaults(fn=search)
        host = FunctionAgent(name="host", description="Greets.", llm=models(0), can_handoff_to=["herder"])
        herder = FunctionAgent(name="herder", description="Knows.", tools=[tool], llm=models(1))
        answer = str(await AgentWorkflow(agents=[host, herder], root_agent="host").run("What?"))
        output = await tool.acall(query="wool") if is_async else tool.call(query="wool")
        asked = RetrieverTool.from_defaults(retriever)
        found = await asked.acall(input="wool?") if is_async else asked.call(input="wool?")
        texts = ["a", "bb"]
        batch = (
            await embedding.aget_text_embedding_batch(texts) if is_async else embedding.get_text_embedding_batch(texts)
        )
        shown = [(scored.node.get_content(), scored.score, scored.metadata) for scored in nodes]
        return [shown, answer, output.model_dump(), found.content, batch]

    return asyncio.run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_happens_again(tmp_path: Path, is_async: bool) -> None:
    """Nodes, outputs, a tool's error and vectors are the recorded ones, sync or async; the hand-over runs as always."""
    path = tmp_path / "a.session.json"
    recorded = record(lambda: run(live, is_async=is_async), path)
    before = sorted(effects)
    assert [sum(effect.startswith(word) for effect in before) for word in ("search", "embed")] == [3, 7]
    with replay(path) as session:
        effects.clear()
        assert run(unplugged, is_async=is_async)[1:3] == recorded[1:3]
        assert sorted(effects) == before
    agents = [trace.tree() for trace in session.recorded.one().traces][2:4]
    assert agents[1] == ["tool search"]
    for way in (not is_async, is_async):
        effects.clear()
        with replay(path, **RECORDED) as session:
            assert run(unplugged, is_async=way) == recorded
        assert effects == []
        assert [trace.tree() for trace in session.recorded.one().traces][2:4] == agents


def test_only_what_is_chosen_is_recorded(tmp_path: Path) -> None:
    """With recorded embeddings alone, tools and retrievers run, and the model is not asked for vectors."""
    path = tmp_path / "a.session.json"
    record(lambda: run(live, is_async=False), path)
    effects.clear()
    with replay(path, embeddings="recorded"):
        run(unplugged, is_async=False)
    assert effects == ["search hay", "search straw", "search wool"]
    effects.clear()
    with replay(path, retrievers="recorded"):
        run(unplugged, is_async=False)
    assert sum(effect.startswith("embed") for effect in effects) == 5
    assert not {"embed hay?", "embed wool?"} & {*effects}


def test_other_texts_have_no_vectors(tmp_path: Path) -> None:
    """A batch with a further text is a divergence, and the vectors that are missing are not made up."""
    path = tmp_path / "a.session.json"
    embedding = Counted(embed_dim=4)
    record(lambda: embedding.get_text_embedding_batch(["a"]), path)
    with replay(path, embeddings="recorded") as session:
        with pytest.raises(NotRecorded, match="the recorded vectors are not those of these texts"):
            embedding.get_text_embedding_batch(["a", "b"])
        assert [each.step for each in session.divergences] == [1, 1]
        session.allow(1)
    assert effects == ["embed a"]


def test_the_classes_are_as_before_after_a_replay(tmp_path: Path) -> None:
    """A replay leaves no replaced method behind."""
    path = tmp_path / "a.session.json"
    record(lambda: run(live, is_async=False), path)
    kinds = (FunctionTool, Counted, VectorStoreIndex, MockEmbedding)
    before = [dict(vars(kind)) for kind in kinds]
    inner = vars(FunctionTool)["call"].__wrapped__
    with replay(path, **RECORDED) as session:
        session.allow("")
        assert vars(FunctionTool)["call"].__wrapped__ is not inner
    assert [dict(vars(kind)) for kind in kinds] == before
    assert vars(FunctionTool)["call"].__wrapped__ is inner


def test_agents_of_a_workflow_have_steps_of_their_own(tmp_path: Path) -> None:
    """Each step is called by the agent that took it, and a fork finds it by that name."""
    path = tmp_path / "a.session.json"
    record(lambda: run(live, is_async=True), path)
    recording = session_file.read(path)
    labels = [step.label for step in recording.steps if step.agent == "AgentWorkflow"]
    searches = ["search 1 of herder", "think 2 of herder", "search 2 of herder", "think 3 of herder"]
    assert labels == ["think 1 of host", "think 1 of herder", *searches]
    assert step_at(recording, "think 2 of herder").label == "think 2 of herder"
