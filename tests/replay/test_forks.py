"""Forks: the recording answers up to a step, then the application goes on live, or with another answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent

from langchain_runs import search
from langfuse_integration.errors import InvalidFork
from langfuse_integration.testing import ReplaySession, replay
from langfuse_integration_langchain import SessionHandler
from replay.recordings import record
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain


def ask(model: ScriptedChat, text: str = "What do alpacas eat?") -> str:
    """Return what an agent answers."""
    agent = create_agent(model, [search], name="herder")
    state = agent.invoke({"messages": [("user", text)]}, {"callbacks": [SessionHandler()]})
    return str(state["messages"][-1].content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A session with three thinks."""
    file = tmp_path / "a.session.json"
    replies = (call("search", {"query": "hay"}), call("search", {"query": "straw"}, "call_2"), "Hay and straw.")
    record(lambda: ask(ScriptedChat(*replies)), file)
    return file


def tree(session: ReplaySession) -> Any:
    """Return the tree of what ran."""
    return session.recorded.one().traces[0].tree()


@pytest.mark.parametrize("until", [5, "5", "step 5", "think 3", "think 3 of herder"])
def test_what_comes_before_the_fork_is_replayed(path: Path, until: int | str) -> None:
    """The model is asked at the fork for the first time, with the history of the recording."""
    model = ScriptedChat("Grass, live.")
    with replay(path, until=until) as session:
        assert ask(model) == "Grass, live."
        assert session.is_live
    [messages] = model.prompts
    assert [message.content for message in messages] == ["What do alpacas eat?", "", "found hay", "", "found straw"]


def test_from_the_fork_on_everything_is_live(path: Path) -> None:
    """Further calls than recorded are live, too, and nothing is reported as missing."""
    model = ScriptedChat(
        call("search", {"query": "oats"}, "call_9"), call("search", {"query": "bran"}, "call_8"), "Oats."
    )
    with replay(path, until=2) as session:
        assert ask(model) == "Oats."
        assert session.divergences == []
        assert len(session.recorded.one().thinks) == 4
    assert len(model.prompts) == 3


def test_another_answer_leads_another_way(path: Path) -> None:
    """An answer that is given replaces the recorded one: a text, or content and tool calls; live follows."""
    model = ScriptedChat("Live.")
    with replay(path, answers={1: "I know: grass."}) as session:
        assert ask(model) == "I know: grass."
        assert tree(session) == [{"agent herder": ["generation ScriptedChat"]}]
    assert model.prompts == []
    asked = {"content": "", "tool_calls": [{"name": "search", "args": {"query": "bran"}, "id": "c9"}]}
    with replay(path, answers={3: asked}) as session:
        assert ask(model) == "Live."
        assert session.recorded.one().tools_called == ["search", "search"]
        assert session.recorded.one().acts[1].input == {"query": "bran"}
    assert len(model.prompts) == 1


def test_with_an_end_beyond_the_recording_nothing_is_live(path: Path) -> None:
    """`until` beyond the last step keeps the rest recorded after another answer."""
    asked = {"content": "", "tool_calls": [{"name": "search", "args": {"query": "straw"}, "id": "call_2"}]}
    with replay(path, answers={3: asked}, until=6):
        assert ask(ScriptedChat(AssertionError("the model was called"))) == "Hay and straw."


@pytest.mark.parametrize("options", [{"until": "think 9"}, {"answers": {9: "x"}}, {"until": "shear 1"}])
def test_a_step_that_does_not_exist_is_refused(path: Path, options: dict[str, Any]) -> None:
    """The message lists the steps."""
    with pytest.raises(
        InvalidFork,
        match="think 1 of herder, search 1 of herder, think 2 of herder",
    ):
        replay(path, **options).__enter__()


def test_live_models_ask_and_nothing_is_missing(path: Path) -> None:
    """With `models="live"` the model is asked at every step, and its rows are recorded."""
    model = ScriptedChat("Live.")
    with replay(path, models="live") as session:
        assert ask(model) == "Live."
        assert tree(session) == [{"agent herder": ["generation ScriptedChat"]}]


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"modles": "live"}, TypeError, "not modles"),
        ({"models": "off"}, ValueError, "'recorded' or 'live'"),
        ({"tools": "off"}, ValueError, "tools is 'off', but must be 'recorded' or 'live'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    path: Path, options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    """An unknown option, or a value that it does not take, is refused before anything runs."""
    with pytest.raises(error, match=problem):
        replay(path, **options)
