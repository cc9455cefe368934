"""Decision models answer from a recording, as chat models do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langfuse_integration.testing import replay
from langfuse_integration_langchain import SessionHandler
from replay.recordings import divergences, record
from scripted_chat import ScriptedChat
from scripted_judge import REQUEST, TOLD, Judge

pytestmark = pytest.mark.langchain
CONFIG: Any = {"callbacks": [SessionHandler()]}
UNPLUGGED = AssertionError("the model was called")


def turn(judge: Any, is_async: bool = False) -> Any:
    chain = RunnableLambda(lambda request: request) | judge
    return asyncio.run(chain.ainvoke(REQUEST, CONFIG)) if is_async else chain.invoke(REQUEST, CONFIG)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_answer_comes_from_the_recording(tmp_path: Path, is_async: bool) -> None:
    """The replay gives an equal answer in an equal tree, and calls no model."""
    path = tmp_path / "s.session.json"
    recorded = record(lambda: turn(Judge(TOLD), is_async), path)
    judge = Judge(UNPLUGGED)
    with replay(path) as session:
        assert turn(judge, is_async) == recorded == TOLD
        (trace,) = session.recorded.one().traces
        assert trace.tree() == [{"chain RunnableSequence": ["generation Judge"]}]
    assert (session.divergences, judge.asked) == ([], 0)


def test_a_model_below_is_answered_with_it(tmp_path: Path) -> None:
    """A runnable that announces itself as a model asks a chat model: neither runs in a replay, and none is missing."""

    class Wrapper(Judge):
        def _answer(self, _: Any) -> Any:
            return ScriptedChat("Hay.").invoke("hi") if self.answer is None else super()._answer(_)

    path = tmp_path / "s.session.json"
    recorded = record(lambda: turn(Wrapper(None)), path)
    with replay(path) as session:
        assert turn(Wrapper(UNPLUGGED)) == recorded
    assert session.divergences == []


@pytest.mark.parametrize("way", ["batch", "abatch", "stream", "astream"])
def test_every_way_of_calling_is_answered(tmp_path: Path, way: str) -> None:
    """In batches and as a stream, too: each call takes its own answer."""

    async def listed(stream: Any) -> list[Any]:
        return [part async for part in stream]

    def run(judge: Any) -> list[Any]:
        many = [REQUEST, {**REQUEST, "state": "Is grass food?"}]
        if way.endswith("batch"):
            done = getattr(judge, way)(many, CONFIG)
            return asyncio.run(done) if way == "abatch" else done
        parts = getattr(judge, way)(REQUEST, CONFIG)
        return asyncio.run(listed(parts)) if way == "astream" else list(parts)

    path = tmp_path / "s.session.json"
    recorded = record(lambda: run(Judge(TOLD)), path)
    judge = Judge(UNPLUGGED)
    with replay(path) as session:
        assert run(judge) == recorded
    assert (session.divergences, judge.asked) == ([], 0)


def test_an_error_comes_from_the_recording(tmp_path: Path) -> None:
    """A call that failed fails again in the same way."""

    def failing(judge: Any) -> str:
        with pytest.raises(ConnectionError) as raised:
            turn(judge)
        return str(raised.value)

    path = tmp_path / "s.session.json"
    recorded = record(lambda: failing(Judge(ConnectionError("no route"))), path)
    judge = Judge(UNPLUGGED)
    with replay(path) as session:
        assert failing(judge) == recorded == "no route"
    assert (session.divergences, judge.asked) == ([], 0)


def test_another_model_is_named(tmp_path: Path) -> None:
    """A decision that is asked of another model is a divergence."""
    path = tmp_path / "s.session.json"
    record(lambda: turn(Judge(TOLD)), path)
    named = divergences(path, lambda _: turn(Judge(UNPLUGGED, model="judge-2")))
    assert named == [(1, "step 1 (Judge 1): the model differs")]


def test_another_answer_goes_on(tmp_path: Path) -> None:
    """An entry of another answer takes the place of the recorded one's; the rest stays."""
    path = tmp_path / "s.session.json"
    record(lambda: turn(Judge(TOLD)), path)
    with replay(path, answers={1: {"answers": {}}}):
        assert turn(Judge(UNPLUGGED)) == {**TOLD, "answers": {}}


def test_a_decision_model_of_langchain_is_rebuilt(tmp_path: Path) -> None:
    """An equal object of LangChain's class comes back."""
    decisions = pytest.importorskip("langchain_core.decisions", reason="langchain-core 1.8 has decision models")

    class Classifier(decisions.BaseDecisionModel):  # type: ignore[misc,name-defined]
        answers: Any

        @property
        def _provider(self) -> str:
            return "acme"

        def _classify(self, state: Any, questions: Any) -> Any:
            assert self.answers is not None, "the model was called"
            return decisions.ClassifierResponse.model_validate({**TOLD, "answers": self.answers})

    request = {"state": "Is hay food?", "questions": {"risk": decisions.Noul(type="noul", instructions="Food?")}}
    answers = {"risk": {"type": "noul", "noul": 0.875}}
    ask = lambda given: Classifier(model="judge-1", answers=given).invoke(request, CONFIG)  # noqa: E731
    path = tmp_path / "s.session.json"
    recorded = record(lambda: ask(answers), path)
    with replay(path) as session:
        assert ask(None) == recorded
    assert type(recorded) is decisions.ClassifierResponse
    assert session.divergences == []
