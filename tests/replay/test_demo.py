"""The demo's sessions as tests: both agents of examples/demo_agent answer as recorded, without model and server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langfuse_integration.testing import ReplaySession, replay

pytestmark = [
    pytest.mark.langchain,
    pytest.mark.llamaindex,
    pytest.mark.mcp,
    # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

HERE = Path(__file__).parent
DEMO = Path(__file__).parents[2] / "examples" / "demo_agent"
MODULES = ("agent", "llama", "mind", "model")


@pytest.fixture(autouse=True)
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo's module `agent`, as it is when its directory is run."""
    monkeypatch.syspath_prepend(str(DEMO))
    import agent

    yield agent
    from langfuse_integration_llamaindex import uninstrument

    uninstrument()
    for name in MODULES:
        sys.modules.pop(name, None)


async def talk(demo: Any, session: ReplaySession, user: str) -> list[str]:
    """Let the user ask the recorded questions, and return the answers."""
    from model import ScriptedModel  # type: ignore[import-not-found]

    async with demo.llama_mcp() as server:
        answer = await (demo.with_langchain(ScriptedModel(), server) if user == "ada" else demo.with_llamaindex(server))
        return [await answer(turn.text) for turn in session.turns]


@pytest.mark.parametrize("tools", ["live", "recorded"])
@pytest.mark.parametrize("user", ["ada", "bob"])
def test_the_demo_goes_the_recorded_way(demo: Any, user: str, tools: Any) -> None:
    """Each user gets the recorded answers, over the recorded steps; the server, whose the tools are, is not started."""
    with replay(HERE / f"demo-{user}.session.json", tools=tools) as session:
        answers = asyncio.run(talk(demo, session, user))
        recorded = session.recorded.of(f"demo-{user}")
    assert answers == [turn.reply for turn in session.recording.turns]
    assert recorded.tools_called == ["llama-mcp.search", "llama-mcp.read"] * 2
    assert len(recorded.thinks) == 6


def test_a_changed_prompt_of_the_demo_is_named(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another prompt is one divergence, at the first step."""
    monkeypatch.setattr(demo, "PROMPT", demo.PROMPT.replace("shortly", "at length"))
    with replay(HERE / "demo-ada.session.json") as session:
        asyncio.run(talk(demo, session, "ada"))
        [divergence] = session.divergences
        session.allow(divergence.step)
    assert divergence.text == "step 1 (think 1 of librarian): the input differs"
    assert [line[0] for line in divergence.lines] == ["m", "-", "+"]
