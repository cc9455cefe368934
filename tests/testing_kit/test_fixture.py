"""The fixture `sessions` in a user's own tests: pytest run on them, in a process of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions

pytest_plugins = ["pytester"]

AGENT = """
import asyncio
import pytest
from langfuse_integration import langfuse_manager

def agent(question):
    with langfuse_manager.trace_span("herder", as_type="agent", input=question) as top:
        with langfuse_manager.trace_span("ChatModel", as_type="generation", metadata={"step_type": "think"}) as think:
            think.update(output="search")
        told = {"step_type": "act", "think_id": think.id}
        with langfuse_manager.trace_span("search", as_type="tool", input="hay", metadata=told) as tool:
            tool.update(output="feeding.md")
        top.update(output="Hay.")
        top.score("helpful", 1)
"""


def passed(pytester: pytest.Pytester, code: str, *options: str, count: int = 1) -> None:
    """Run the tests in *code* as a user would; all have to pass, and nothing may be written anywhere."""
    pytester.makepyfile(AGENT + code)
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *options)
    result.assert_outcomes(passed=count)
    left = {path.name for path in Path(pytester.path).iterdir()} - {"__pycache__"}
    assert not [name for name in left if "sqlite" in name]


@pytest.fixture(autouse=True)
def nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's process gets no setting of this test run."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def test_a_users_test_asserts_what_the_agent_did(pytester: pytest.Pytester) -> None:
    """Tree, steps, tools, inputs and outputs, session and user, by plain comparison and without any set-up."""
    passed(
        pytester,
        """
def test_it(sessions):
    with langfuse_manager.session("s-1", user_id="u-1"):
        agent("What do llamas eat?")
    replay = sessions.one()
    assert replay.session_id == "s-1"
    assert replay.users == ["u-1"]
    trace = replay.traces[0]
    assert trace.tree() == [{"agent herder": ["generation ChatModel", "tool search"]}]
    assert replay.tools_called == trace.tools_called == ["search"]
    assert [act.input for act in replay.acts] == ["hay"]
    assert [think.output for think in trace.thinks] == ["search"]
    assert trace.one("herder").output == "Hay."
    assert [(score.name, score.value) for score in sessions.scores] == [("helpful", 1)]
""",
    )


def test_tests_do_not_see_each_other(pytester: pytest.Pytester) -> None:
    """A session that one test sets, and what it records or leaves open, is gone in the next one."""
    passed(
        pytester,
        """
@pytest.mark.parametrize("number", range(3))
def test_it(sessions, number):
    assert langfuse_manager.current_session is None
    assert sessions.observations == []
    langfuse_manager.set_session(f"s-{number}")
    agent("question")
    assert sessions.one().session_id == f"s-{number}"
""",
        count=3,
    )


def test_nothing_is_sent_whatever_the_environment_says(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With keys and a journal set, both stay untouched."""
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-1")
    monkeypatch.setenv("LANGFUSE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGFUSE_INTEGRATION_JOURNAL", str(tmp_path / "real.sqlite3"))
    passed(
        pytester,
        """
def test_it(sessions):
    agent("question")
    assert len(sessions.observations) == 3
    assert langfuse_manager.flush().lost == 0
""",
    )
    assert not (tmp_path / "real.sqlite3").exists()


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_it_works_under_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    """Coroutines, tasks that run at once and async fixtures; each task keeps its own session."""
    passed(
        pytester,
        """
import pytest_asyncio

@pytest_asyncio.fixture
async def ready():
    await asyncio.sleep(0)
    langfuse_manager.set_session("s-fixture")
    return True

async def turn(number):
    langfuse_manager.set_session(f"s-{number}", user_id=f"u-{number}")
    await asyncio.sleep(0)
    agent("question")

@pytest.mark.asyncio
async def test_it(sessions, ready):
    await asyncio.gather(*(turn(number) for number in range(5)))
    assert [replay.session_id for replay in sessions.all] == [f"s-{number}" for number in range(5)]
    assert {tuple(replay.users) for replay in sessions.all} == {(f"u-{number}",) for number in range(5)}
    assert all(trace.tree() == [{"agent herder": ["generation ChatModel", "tool search"]}] for trace in sessions.traces)

@pytest.mark.asyncio
async def test_another(sessions):
    assert sessions.observations == []
    agent("question")
    assert sessions.one().session_id is None
""",
        "-p", "no:anyio", f"--asyncio-mode={mode}", count=2,
    )  # fmt: skip


def test_it_works_under_anyio(pytester: pytest.Pytester) -> None:
    """The fixture sees the sessions of async tests under anyio's own plugin."""
    passed(
        pytester,
        """
import anyio

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def turn(number):
    with langfuse_manager.session(f"s-{number}"):
        await anyio.sleep(0)
        agent("question")

@pytest.mark.parametrize("again", range(2))
async def test_it(sessions, again):
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(turn, number)
    assert [replay.session_id for replay in sessions.all] == ["s-0", "s-1", "s-2"]
""",
        "-p", "no:asyncio", count=2,
    )  # fmt: skip


def test_ids_and_times_are_the_same_in_every_run(pytester: pytest.Pytester) -> None:
    """On request ids count, times tick, references between steps follow, and the whole can be written down."""
    passed(
        pytester,
        """
EXPECTED = [
    ("1", None, "herder", 0, 5, {}),
    ("2", "1", "ChatModel", 1, 2, {"step_type": "think"}),
    ("3", "1", "search", 3, 4, {"step_type": "act", "think_id": "0000000000000002"}),
]
BEGIN_NS = 1_893_456_000_000_000_000

@pytest.mark.parametrize("again", range(3))
def test_it(sessions, again):
    sessions.deterministic()
    agent("question")
    found = sessions.observations
    assert [
        (
            one.id.lstrip("0"), one.parent_id and one.parent_id.lstrip("0"), one.name,
            (one.started_ns - BEGIN_NS) // 1_000_000, (one.ended_ns - BEGIN_NS) // 1_000_000, one.metadata,
        )
        for one in found
    ] == EXPECTED
    assert {one.trace_id for one in found} == {"0" * 31 + "1"}
    assert sessions.trace().tree() == [{"agent herder": ["generation ChatModel", "tool search"]}]
    (score,) = sessions.scores
    assert (score.id, score.trace, score.span) == ("0" * 31 + "1", 1, 1)
    agent("question")
    assert [trace.id.lstrip("0") for trace in sessions.traces] == ["1", "2"]
    assert sessions.observations[3].id.lstrip("0") == "4"
""",
        count=3,
    )


def test_a_failing_comparison_shows_where_trees_differ(pytester: pytest.Pytester) -> None:
    """Lines with + and - in a tree that one can read, whole however long; other lists are pytest's."""
    pytester.makepyfile(
        AGENT
        + """
def test_it(sessions):
    agent("question")
    assert sessions.trace().tree() == [{"agent herder": ["generation ChatModel", {"tool read": ["span file"]}]}]

def test_lists():
    assert ["a b"] == ["a c"]
"""
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E   *the trees are not the same (+ left only, - right only)",
            "E   *  agent herder",
            "E   *      generation ChatModel",
            "E   *-     tool read",
            "E   *-         span file",
            "E   *+     tool search",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(["E   *At index 0 diff: 'a b' != 'a c'"])


def test_wrong_guesses_say_what_was_found(pytester: pytest.Pytester) -> None:
    """`one()` and `trace()` name what there is instead."""
    pytester.makepyfile(
        AGENT
        + """
def test_none(sessions):
    sessions.one()

def test_two(sessions):
    for number in range(2):
        with langfuse_manager.session(f"s-{number}"):
            agent("question")
    sessions.trace()
"""
    )
    result = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*one session was expected, found []*"])
    result.stdout.fnmatch_lines(["*one trace was expected, found *'agent herder': *"])


def test_the_plugin_costs_a_test_run_nothing(pytester: pytest.Pytester) -> None:
    """The plugin loads with pytest, and imports no heavy package until a test uses the fixture."""
    pytester.makepyfile(
        """
import sys

def test_it():
    loaded = [name for name in sys.modules if name.startswith(("opentelemetry", "langfuse.", "pydantic"))]
    assert loaded == []
"""
    )
    result = pytester.runpytest_subprocess(
        "-q", "-p", "no:cacheprovider", "-p", "no:logfire", "-p", "no:langsmith_plugin"
    )
    result.assert_outcomes(passed=1)


class Unhurried:
    """A value whose text takes longer than a worker is otherwise waited for when it is replaced."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        threading.Timer(6, self._ready.set).start()

    def __repr__(self) -> str:
        self._ready.wait(60)
        return "hay"


@pytest.mark.slow
def test_all_that_a_block_recorded_is_there_after_it() -> None:
    """The end of a block waits for its worker: nothing is missing after it, and nothing is in the next block."""
    with recorded_sessions() as first:
        for name, value in (("slow", Unhurried()), ("next", "hay")):
            with langfuse_manager.trace_span(name, input=value):
                pass
    with recorded_sessions() as second:
        assert second.observations == []
    assert [(row.name, row.input) for row in first.observations] == [("slow", "hay"), ("next", "hay")]
