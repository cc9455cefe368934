"""What went wrong in a trace: each failure once, at its deepest step."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.reading.problems import KINDS, problems_of
from langfuse_integration.testing import RecordedSessions

CALL = {"name": "serach", "args": {"query": "hay"}, "id": "call-1"}


def said(sessions: RecordedSessions) -> list[tuple[Any, ...]]:
    """Return the problems of the only trace, plainly: kind, outcome, message, times and the path of names."""
    return [
        (each.kind, each.outcome, each.message, each.times, [step.name for step in (*each.chain, each.observation)])
        for each in problems_of(sessions.trace())
    ]


def test_a_run_without_faults_has_no_problems(sessions: RecordedSessions) -> None:
    """A run without faults has no problems."""
    with langfuse_manager.trace_span("root", input="x") as root:
        root.update(output="y")
    assert said(sessions) == []


def test_a_failure_that_ends_the_run_counts_once(sessions: RecordedSessions) -> None:
    """The wrappers that pass an exception on are its chain, not failures of their own."""
    try:
        with (
            langfuse_manager.trace_span("graph"),
            langfuse_manager.trace_span("node"),
            langfuse_manager.trace_span("search", as_type="tool"),
        ):
            raise ValueError("no hay")
    except ValueError:
        pass
    (problem,) = said(sessions)
    assert problem[:2] == ("failed", "fatal")
    assert "no hay" in problem[2]
    assert problem[3:] == (1, ["graph", "node", "search"])


def test_a_failure_that_the_run_goes_on_after_is_recovered(sessions: RecordedSessions) -> None:
    """The root ended well."""
    with langfuse_manager.trace_span("herder"):
        with langfuse_manager.trace_span("search", as_type="tool") as tool:
            tool.update(level="ERROR", status_message="gone")
        with langfuse_manager.trace_span("read", as_type="tool"):
            pass
    assert said(sessions) == [("failed", "recovered", "gone", 1, ["herder", "search"])]


def test_a_run_that_fails_later_by_something_else_has_two_failures(sessions: RecordedSessions) -> None:
    """A tool failed and was survived; the run's own limit was not. The fatal one comes first."""
    with langfuse_manager.trace_span("herder") as root:
        with langfuse_manager.trace_span("search", as_type="tool") as tool:
            tool.update(level="ERROR", status_message="gone")
        with langfuse_manager.trace_span("model", as_type="generation"):
            pass
        root.update(level="ERROR", status_message="recursion limit of 25 reached")
    assert (
        said(sessions)
        == [
            ("failed", "fatal", "recursion limit of 25 reached", 1, ["herder"]),
            ("failed", "fatal", "gone", 1, ["herder", "search"]),
        ]
        or said(sessions)[1][1] == "recovered"
    )


def test_retries_of_one_call_are_one_problem(sessions: RecordedSessions) -> None:
    """Two attempts fail, the third succeeds; another model that answers instead is named."""
    with langfuse_manager.trace_span("herder", input="x"):
        for attempt in range(3):
            with langfuse_manager.trace_span("Chat", as_type="generation", input="q") as model:
                model.update(model="large", output="fine")
                if attempt < 2:
                    model.update(level="ERROR", status_message="overloaded")
        with langfuse_manager.trace_span("Chat", as_type="generation", input="other") as model:
            model.update(model="large", level="ERROR", status_message="refused")
        with langfuse_manager.trace_span("Chat", as_type="generation", input="other") as model:
            model.update(model="small", output="fine")
    assert [each[:4] for each in said(sessions)] == [
        ("failed", "recovered", "overloaded (2 of 3 attempts failed)", 2),
        ("failed", "recovered", "refused (fell back to small)", 1),
    ]


def think(calls: list[dict[str, Any]], history: list[dict[str, Any]]) -> None:
    """Record a model call that asks for tools."""
    with langfuse_manager.trace_span(
        "Chat", as_type="generation", input={"messages": [{"role": "user", "content": "Hay?"}, *history]}
    ) as model:
        model.update(output={"role": "assistant", "content": "" if calls else "Done.", "tool_calls": calls})


def test_a_tool_that_does_not_exist_is_refused_with_the_reason(sessions: RecordedSessions) -> None:
    """What the model is told about its call says why; the call is not said to be never made as well."""
    asked = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    told = {"role": "tool", "content": "serach is no tool", "tool_call_id": "call-1", "status": "error"}
    with langfuse_manager.trace_span("herder", as_type="agent", input="x", metadata={"unanswered_tool_calls": [CALL]}):
        think([CALL], [])
        think([], [asked, told])
    assert said(sessions) == [("refused", "recovered", "serach: serach is no tool", 1, ["herder", "Chat"])]


def test_a_call_that_the_application_answered_itself_is_no_problem(sessions: RecordedSessions) -> None:
    """A message with the call's id, in a list of any name, or a tool of that name and these arguments, answers it."""
    asked = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    told = {"role": "tool", "content": "hay", "tool_call_id": "call-1"}
    with langfuse_manager.trace_span("herder", as_type="agent", input="x", metadata={"unanswered_tool_calls": [CALL]}):
        think([CALL], [])
        think([], [asked, told])
    assert said(sessions) == []
    sessions.clear()
    with langfuse_manager.trace_span("herder", as_type="agent", input="x", metadata={"unanswered_tool_calls": [CALL]}):
        think([CALL], [])
        with langfuse_manager.trace_span("serach", as_type="tool", input={"query": "hay"}):
            pass
    assert said(sessions) == []


def test_a_call_that_nobody_answered_was_never_made(sessions: RecordedSessions) -> None:
    """The agent ended with it open."""
    with langfuse_manager.trace_span("herder", as_type="agent", input="x", metadata={"unanswered_tool_calls": [CALL]}):
        think([CALL], [])
    assert said(sessions) == [("never called", "", "serach was asked for and never called", 1, ["herder", "Chat"])]


def test_the_same_call_again_and_again_is_a_loop(sessions: RecordedSessions) -> None:
    """Three times the same arguments are, three times others are not."""
    with langfuse_manager.trace_span("herder", input="x"):
        for number in range(3):
            langfuse_manager.trace_mcp_call("llama-mcp", {"query": "hay"}, "no", tool="search")
            langfuse_manager.trace_mcp_call("llama-mcp", {"page": number}, "no", tool="read")
    (problem,) = said(sessions)
    assert problem[0] == "repeated"
    assert problem[3] == 3
    assert problem[4][-1].endswith("search")


def test_an_answer_without_text_and_calls_is_empty(sessions: RecordedSessions) -> None:
    """A model that says nothing is named, one that only calls a tool is not."""
    with langfuse_manager.trace_span("herder", input="x"):
        think([CALL], [])
        with langfuse_manager.trace_span("Chat", as_type="generation", input="q") as model:
            model.update(output={"role": "assistant", "content": " "})
    assert said(sessions) == [("empty answer", "", "the model answered nothing", 1, ["herder", "Chat"])]


def test_a_cut_answer_a_cancelled_run_and_a_search_without_a_hit(sessions: RecordedSessions) -> None:
    """Each is named at its step; an answer that ended by itself, and a hit, are none."""
    with langfuse_manager.trace_span("root") as root:
        for reason in ("length", "content_filter", "stop", "tool_calls"):
            with langfuse_manager.trace_span(reason, as_type="generation", input="x") as answer:
                answer.update(output="y", metadata={"finish_reason": reason})
        for documents in ([], [{"page_content": "hay"}]):
            with langfuse_manager.trace_span(f"{len(documents)} hits", as_type="retriever") as retriever:
                retriever.update(output=documents)
        root.update(output="z")
    assert said(sessions) == [
        ("cut off", "", "the answer was cut at its limit (length)", 1, ["root", "length"]),
        ("cut off", "", "a filter stopped the answer (content_filter)", 1, ["root", "content_filter"]),
        ("nothing retrieved", "", "the retriever found no document", 1, ["root", "0 hits"]),
    ]


@pytest.mark.asyncio
async def test_a_cancelled_run_is_named_where_it_was_cancelled(sessions: RecordedSessions) -> None:
    """Only the deepest cancelled step is; a cancelled step of a run that went on is no problem."""

    async def run(name: str) -> None:
        with langfuse_manager.trace_span(name), langfuse_manager.trace_span(f"{name} below"):
            await asyncio.sleep(60)

    with langfuse_manager.trace_span("goes on"):
        await cancelled(run("inner"))
    assert said(sessions) == []
    sessions.clear()
    await cancelled(run("outer"))
    assert said(sessions) == [("cancelled", "", "the run was cancelled here", 1, ["outer", "outer below"])]


async def cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Cancel work after it has begun."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_documents_name_every_kind() -> None:
    """The page for coding agents lists the kinds in their order, and no other."""
    page = Path(__file__).parents[2] / "docs" / "coding-agents.md"
    listed = page.read_text(encoding="utf-8").partition("the gravest first")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"`([a-z ]+)`", listed)) == KINDS
