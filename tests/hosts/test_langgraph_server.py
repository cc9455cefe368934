"""LangGraph Server forbids blocking calls in its event loop, by blockbuster: nothing of ours blocks there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fresh import run_fresh

CODE = """
import asyncio, logging
logging.basicConfig(level="WARNING")
from blockbuster import BlockBuster
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, MessagesState, StateGraph
from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import instrument

instrument()
model = FakeListChatModel(responses=["Hay."])

async def talk(state):
    return {"messages": [await model.ainvoke(state["messages"])]}

graph = StateGraph(MessagesState).add_node(talk).add_edge(START, "talk").compile()

async def main():
    asked = {"messages": [("user", "What do llamas eat?")]}
    await graph.ainvoke(asked)                                 # the first one, and without a session: it is advised on
    langfuse_manager.set_session("s-1", user_id="u-1")
    await graph.ainvoke(asked)
    with langfuse_manager.trace_span("span"):
        langfuse_manager.trace_mcp_call("server", "query", "answer")
    langfuse_manager.score("helpful", True)
    langfuse_manager.clear_session()

block = BlockBuster()
block.activate()
asyncio.run(main())
block.deactivate()
print(langfuse_manager.flush(30))
"""


def test_nothing_blocks_the_event_loop(tmp_path: Path) -> None:
    """Graphs, spans, advice and scores in a loop that raises at any blocking call: no error, and nothing lost."""
    pytest.importorskip("blockbuster")
    (tmp_path / "app.py").write_text(CODE)
    out = run_fresh(
        f"import runpy; runpy.run_path({str(tmp_path / 'app.py')!r})",
        {"LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "journal.sqlite3")},
    )
    assert "pending=0, lost=0" in out
    assert "failed while" not in out
    assert "Blocking" not in out


ALONE = """
import asyncio, logging
logging.basicConfig(level="WARNING")
from blockbuster import BlockBuster
from langfuse_integration import langfuse_manager

async def main():
    with langfuse_manager.trace_span("without a session"):
        pass
    langfuse_manager.set_session("s-1")

langfuse_manager.enabled
block = BlockBuster()
block.activate()
asyncio.run(main())
block.deactivate()
"""


def test_the_advice_blocks_no_event_loop_where_nothing_else_is_loaded(tmp_path: Path) -> None:
    """The first advice of a process that has imported little names the application's line, and reads no file."""
    pytest.importorskip("blockbuster")
    (tmp_path / "app.py").write_text(ALONE)
    out = run_fresh(
        f"import runpy; runpy.run_path({str(tmp_path / 'app.py')!r})",
        {"LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "journal.sqlite3")},
    )
    assert "app.py:8) was recorded before the session was set" in out
    assert "failed while" not in out
    assert "Blocking" not in out
