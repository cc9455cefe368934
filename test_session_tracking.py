"""Makes test sessions through the API of the guide, reads them back, and shows where they appear.

    python test_session_tracking.py

Without keys they are in the local journal; with LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY they are in Langfuse. Exit
code 1 means that something is not as it should be, and says what. Under pytest nothing is written and nothing is sent.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from langfuse_integration import configure, langfuse_manager
from langfuse_integration.cli.replaying import replayed
from langfuse_integration.cli.screen import Screen
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.replay import SessionReplay, Trace
from langfuse_integration.settings import settings
from langfuse_integration.testing import recorded_sessions

FLUSH_S = 10.0
QUICK_START = ["span user_query", "agent think", "tool llama-mcp"]
CHAT = [{"span chat_message": ["agent think", "tool llama-mcp.search", "agent think"]}]


class Made(NamedTuple):
    """What was made: the ids of the sessions and of the trace without one, and what was seen on the way."""

    quick_start: str
    two_users: tuple[str, str]
    tasks: tuple[str, ...]
    failing: str
    cleared: str
    observations: int
    seen: dict[str, bool]

    @property
    def sessions(self) -> list[str]:
        """The ids of all sessions."""
        return [self.quick_start, *self.two_users, *self.tasks, self.failing]


class Check(NamedTuple):
    """A fact about the sessions, and whether it holds."""

    fact: str
    holds: bool
    found: object = ""


# -- what is made


def make(run: str) -> Made:
    """Make sessions in every way that the guide shows; *run* is in their ids."""
    seen: dict[str, bool] = {}
    cleared = quick_start(f"test-{run}-guide", seen)
    two = (f"test-{run}-ada", f"test-{run}-bob")
    count = 4 + side_by_side(*two)
    tasks = tuple(f"test-{run}-task{number}" for number in range(3))
    count += asyncio.run(as_tasks(tasks))
    count += failing(f"test-{run}-error", seen)
    return Made(f"test-{run}-guide", two, tasks, f"test-{run}-error", cleared, count, seen)


def quick_start(session_id: str, seen: dict[str, bool]) -> str:
    """Do what the guide's quick start does, and one thing after it; return the trace of that one."""
    langfuse_manager.set_session(session_id, user_id="user-456")
    seen["current"] = (langfuse_manager.current_session_id, langfuse_manager.current_user_id) == (
        session_id,
        "user-456",
    )
    with langfuse_manager.trace_span("user_query"):
        pass
    langfuse_manager.trace_agent_step(step_type="think", input_data="user input", output_data="agent thought")
    langfuse_manager.set_user("user-789")
    langfuse_manager.trace_mcp_call(server_name="llama-mcp", query="search query", response="search results")
    langfuse_manager.clear_session()
    seen["cleared"] = langfuse_manager.current_session_id is None and langfuse_manager.current_user_id is None
    with langfuse_manager.trace_span("after_clear_session") as span:
        return span.trace_id


def chat(session_id: str, user_id: str, turn: Callable[[], object]) -> int:
    """Record a turn of a conversation; *turn* is called between its steps."""
    langfuse_manager.set_session(session_id, user_id=user_id)
    question, answer = f"What may {user_id} feed to llamas?", "Hay."
    with langfuse_manager.trace_span("chat_message", input=question, metadata={"message_count": 1}) as span:
        langfuse_manager.trace_agent_step("think", question, 'search("food")')
        turn()
        langfuse_manager.trace_mcp_call("llama-mcp", {"query": "food"}, "Hay, grass, water.", tool="search")
        turn()
        langfuse_manager.trace_agent_step("think", "Hay, grass, water.", answer)
        span.update(output=answer)
    return 4


def side_by_side(first: str, second: str) -> int:
    """Let two users talk at the same time, each in a thread."""
    barrier = threading.Barrier(2)
    threads = [
        threading.Thread(target=chat, args=(session, session.rsplit("-", 1)[-1], lambda: barrier.wait(30)))
        for session in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 8


async def as_tasks(sessions: tuple[str, ...]) -> int:
    """Let several sessions run as tasks of one event loop, in turns."""

    async def one(session_id: str) -> int:
        with langfuse_manager.session(session_id, "task"):
            for name in ("first", "second"):
                with langfuse_manager.trace_span(name):
                    await asyncio.sleep(0)
        return 2

    return sum(await asyncio.gather(*map(one, sessions)))


def failing(session_id: str, seen: dict[str, bool]) -> int:
    """Let a step fail, in a session that ends with its block."""
    try:
        with langfuse_manager.session(session_id, "user-456"), langfuse_manager.trace_span("failing_step"):
            raise RuntimeError("the llama spat")
    except RuntimeError:
        seen["raised"] = True
    seen["restored"] = langfuse_manager.current_session_id is None
    return 1


# -- what is checked


def checks(made: Made, replay: Callable[[str], SessionReplay], after_clear: Trace | None) -> Iterator[Check]:
    """Yield what has to hold; *after_clear* is the trace that was made after `clear_session`."""
    yield Check("set_session makes session and user current", made.seen["current"])
    yield Check("clear_session leaves neither", made.seen["cleared"])
    found = replay(made.quick_start)
    trees = [tree for trace in found.traces for tree in trace.tree()]
    yield Check("the three calls of the quick start are three traces of one session", trees == QUICK_START, trees)
    yield Check("set_user changes the user from there on", found.users == ["user-456", "user-789"], found.users)
    outside = [(each.session_id, each.user_id) for each in after_clear.observations] if after_clear else []
    yield Check("what comes after clear_session is in no session", outside == [(None, None)], outside)
    for session in made.two_users:
        user = session.rsplit("-", 1)[-1]
        held = replay(session)
        whole = [tree for trace in held.traces for tree in trace.tree()]
        yield Check(f"the turn of {user} is one trace with its steps below, in order", whole == CHAT, whole)
        yield Check(f"every observation in it is of {user}", _whose(held) == {(session, user)}, _whose(held))
    names = [[trace.name for trace in replay(session).traces] for session in made.tasks]
    yield Check("sessions of concurrent tasks keep apart", names == [["first", "second"]] * len(made.tasks), names)
    levels = [(each.level, each.status_message) for each in replay(made.failing).observations]
    wanted = [("ERROR", "RuntimeError: the llama spat")]
    yield Check("an exception makes its span an error, and goes on", made.seen["raised"] and levels == wanted, levels)
    yield Check("a session block restores what was before", made.seen["restored"])


def _whose(replay: SessionReplay) -> set[tuple[str | None, str | None]]:
    return {(found.session_id, found.user_id) for found in replay.observations}


def test_session_tracking() -> None:
    """Every fact that the script checks holds for what is recorded in memory."""
    with recorded_sessions() as recorded:
        made = make("pytest")
        (after_clear,) = recorded.of(None).traces
        assert after_clear.id == made.cleared
        assert [check for check in checks(made, recorded.of, after_clear) if not check.holds] == []
        assert len(recorded.observations) == made.observations


# -- what is shown


def main() -> int:
    """Make, check and show; return the exit code."""
    found = settings()
    if found.mode == "off":
        print("Tracing is switched off by LANGFUSE_TRACING_ENABLED: nothing can be tested.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="session-tracking-") as folder:
        if found.mode == "langfuse" or found.journal_path is None:
            # A journal of its own, which keeps what Langfuse has acknowledged, so that it can be read back.
            configure(journal=Path(folder) / "journal.sqlite3", keep_delivered=True)
        try:
            return run(uuid.uuid4().hex[:6])
        finally:
            configure(journal="off")  # closes the journal before its folder goes


def run(name: str) -> int:
    """Do it, in the mode that the settings give; return the exit code."""
    screen = Screen()
    mode = settings().mode
    screen.line(f"Session tracking, mode {mode}")
    made = make(name)
    result = langfuse_manager.flush(FLUSH_S)
    path = settings().journal_path
    with Archive(path) as archive:
        results = [*checks(made, archive.replay, archive.trace(made.cleared)), *delivery(made, archive, mode, result)]
        for check in results:
            screen.line(f"  {'ok    ' if check.holds else 'FAILED'}  {check.fact}")
        for session in (made.quick_start, *made.two_users):
            screen.line()
            screen.lines(replayed(archive, session, screen))
    screen.line()
    screen.line("Where they appear")
    for session in made.sessions:
        screen.line(f"  {langfuse_manager.session_url(session) if mode == 'langfuse' else f'lfi show {session}'}")
    if mode == "local":
        screen.line("  and in Langfuse, once LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are set")
    failed = [check for check in results if not check.holds]
    for check in failed:
        print(f"It does not hold that {check.fact}. Found: {check.found!r}.", file=sys.stderr)
    return 1 if failed else 0


def delivery(made: Made, archive: Archive, mode: str, result: tuple[int, int, int]) -> Iterator[Check]:
    """Yield what has to hold of what was recorded as a whole."""
    kept = sum(len(archive.replay(session).observations) for session in made.sessions) + 1
    yield Check(f"all {made.observations} observations are in the journal, once", kept == made.observations, kept)
    where = f"Langfuse at {settings().base_url} has acknowledged all of them" if mode == "langfuse" else "none was lost"
    yield Check(where, result == (made.observations, 0, 0), result)


if __name__ == "__main__":
    sys.exit(main())
