"""`propagate_attributes` inside of tools and steps: it holds for what starts in the block, and ends with it."""

from __future__ import annotations

from typing import Any

import pytest
from langfuse import propagate_attributes
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from llamaindex.scripted import ScriptedLLM, TextLLM, call, tool

pytestmark = pytest.mark.asyncio

THEIRS: dict[str, Any] = {"session_id": "s-in", "user_id": "u-in", "tags": ["in"], "trace_name": "inner"}
ADDED: dict[str, Any] = {"tags": ["in"], "trace_name": "inner"}
SEEN = ("session.id", "user.id", "langfuse.trace.name")
OUTSIDE = ("s-out", "u-out", None, ())


class Asking(Workflow):
    """A workflow whose step asks models before, in and after a block."""

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        """Ask."""
        await TextLLM(["Hm."]).acomplete("before")
        with propagate_attributes(**ev.carried):
            await TextLLM(["Hm."]).acomplete("inside")
        return StopEvent(result=str(await TextLLM(["Hm."]).acomplete("after")))


def seen(sessions: RecordedSessions) -> dict[str, set[tuple[Any, ...]]]:
    """Return what the rows of models and below say of session, user, trace name and tags, by what they were asked."""
    said: dict[str, set[tuple[Any, ...]]] = {"before": set(), "inside": set(), "after": set()}
    for row in sessions.observations:
        asked = next((word for word in said if word in str(row.input)), None)
        if row.type in ("generation", "retriever", "embedding") and asked is not None:
            tags = tuple(row.attributes.get("langfuse.trace.tags", ()))
            said[asked].add((*(row.attributes.get(key) for key in SEEN), tags))
    return said


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize(
    ("carried", "inside"),
    [(THEIRS, ("s-in", "u-in", "inner", ("in",))), (ADDED, ("s-out", "u-out", "inner", ("in",)))],
    ids=["another session", "adds"],
)
async def test_a_block_in_a_tool(
    settled: RecordedSessions, index: VectorStoreIndex, carried: dict[str, Any], inside: tuple[Any, ...], way: str
) -> None:
    """A model and all of a query inside of the block have what it carries; the models around it do not."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."))

    async def ask(question: str) -> str:
        """Ask a model."""
        await TextLLM(["Hm."]).acomplete("before")
        with propagate_attributes(**carried):
            await TextLLM(["Hm."]).acomplete("inside")
            await engine.aquery("inside")
        return str(await TextLLM(["Hm."]).acomplete("after"))

    def sync_ask(question: str) -> str:
        """Ask a model."""
        TextLLM(["Hm."]).complete("before")
        with propagate_attributes(**carried):
            TextLLM(["Hm."]).complete("inside")
            engine.query("inside")
        return str(TextLLM(["Hm."]).complete("after"))

    used = ask if way == "async" else sync_ask
    llm = ScriptedLLM([call(used.__name__, {"question": "x"}), "Done."])
    with langfuse_manager.session("s-out", "u-out"):
        await FunctionAgent(name="helper", tools=[tool(used)], llm=llm).run("Go.")
    assert seen(settled) == {"before": {OUTSIDE}, "inside": {inside}, "after": {OUTSIDE}}


async def test_a_block_in_a_step(settled: RecordedSessions) -> None:
    """In a workflow's step it is the same, and the workflow's own row stays in the session around it."""
    with langfuse_manager.session("s-out", "u-out"):
        await Asking().run(carried=THEIRS)
    assert seen(settled) == {
        "before": {OUTSIDE},
        "inside": {("s-in", "u-in", "inner", ("in",))},
        "after": {OUTSIDE},
    }


async def test_a_reader_in_a_block_changes_nothing(settled: RecordedSessions, index: VectorStoreIndex) -> None:
    """A streamed answer that is read inside of somebody else's block stays with the one who asked."""
    engine = index.as_query_engine(llm=TextLLM(lambda _: "They hum."), streaming=True)
    with propagate_attributes(session_id="s-out", user_id="u-out"):
        answer: Any = await engine.aquery("inside")
        sync_answer: Any = engine.query("inside")
    with propagate_attributes(**THEIRS):
        assert "".join([piece async for piece in answer.async_response_gen()]) == "They hum."
        assert "".join(sync_answer.response_gen) == "They hum."
    assert {(row.session_id, row.user_id) for row in settled.observations} == {("s-out", "u-out")}
    assert not [key for row in settled.observations for key in row.attributes if key.startswith("langfuse.trace.")]
