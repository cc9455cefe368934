"""`lfi test` and `lfi fork`: a recorded session becomes a test that passes at once, or goes on in another way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from commands import Lfi
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.reading.archive import Archive
from langfuse_integration.testing import replay
from langfuse_integration_langchain import SessionHandler
from replay import farm
from scripted_chat import ScriptedChat

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.langchain
TESTS = Path(__file__).parents[1]


@pytest.fixture
def lfi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lfi:
    """The command, in a directory of its own, with the application on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    return Lfi()


def recorded(questions: tuple[str, ...] = ("What do alpacas eat?", "And llamas?")) -> None:
    """Record a session of the application in the journal."""
    with langfuse_manager.session("Chat 3f/2a", "u-1"):
        for question in questions:
            farm.answer(question)
    assert langfuse_manager.flush(20).lost == 0


def pytest_in(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """Run pytest as a developer does, in a fresh process; return exit code and output."""
    variables = {**os.environ, **environment, "LANGFUSE_INTEGRATION_JOURNAL": str(folder / "no-journal")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "tests/sessions"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.application
@pytest.mark.parametrize("function", ["answer", "answer_later", "run"])
def test_a_session_becomes_a_test_that_passes_at_once(lfi: Lfi, tmp_path: Path, function: str) -> None:
    """Sync or async, by text or by state: the written test passes without the model, and names a changed prompt."""
    recorded()
    text = lfi.ok("test", "Chat", "--call", f"replay.farm:{function}")
    assert "tests/sessions/chat-3f-2a.session.json: 2 turns, 6 steps" in text
    assert (tmp_path / "tests/sessions/test_chat_3f_2a.py").exists()
    assert "here with python -m pytest tests/sessions/test_chat_3f_2a.py" in text
    code, output = pytest_in(tmp_path, FARM_UNPLUGGED="1")
    assert (code, "1 passed" in output) == (0, True), output
    code, output = pytest_in(tmp_path, FARM_UNPLUGGED="1", FARM_PROMPT="Be long.")
    assert code == 1
    assert "step 1 (think 1 of herder): the input differs" in output
    assert "+ Be long." in output
    assert not (tmp_path / "no-journal").exists()


@pytest.mark.application
def test_rerecord_runs_live_and_writes_the_file_anew(lfi: Lfi, tmp_path: Path) -> None:
    """`pytest --rerecord` asks the model again; the next run answers from what it said."""
    recorded()
    lfi.ok("test", "Chat", "--call", "replay.farm:answer")
    file = tmp_path / "tests/sessions/chat-3f-2a.session.json"
    before = json.loads(file.read_text())
    code, output = pytest_in(tmp_path, "--rerecord", FARM_PROMPT="Be long.", FARM_ANSWER="Straw.")
    assert code == 0, output
    after = json.loads(file.read_text())
    assert after["session"] == before["session"]
    assert [turn["text"] for turn in after["turns"]] == [turn["text"] for turn in before["turns"]]
    assert [turn["reply"] for turn in after["turns"]] == ["Straw.", "Straw."]
    assert pytest_in(tmp_path, FARM_UNPLUGGED="1", FARM_PROMPT="Be long.")[0] == 0


@pytest.mark.application
def test_what_no_replay_compares_stands_in_the_configuration(lfi: Lfi, tmp_path: Path) -> None:
    """`replay_ignore` in pytest's configuration holds for every test; what it does not match is still compared."""
    recorded()
    lfi.ok("test", "Chat", "--call", "replay.farm:answer")
    (tmp_path / "pytest.ini").write_text("[pytest]\nreplay_ignore =\n    Be (short|long)\n    order \\d+\n")
    code, output = pytest_in(tmp_path, FARM_UNPLUGGED="1", FARM_PROMPT="Be long.")
    assert code == 0, output
    code, output = pytest_in(tmp_path, FARM_UNPLUGGED="1", FARM_PROMPT="Be quick.")
    assert (code, "step 1 (think 1 of herder): the input differs" in output) == (1, True), output


def test_an_entry_that_is_no_pattern_is_refused(pytester: pytest.Pytester) -> None:
    """The setting and the entry are named, before any test runs."""
    pytester.makeini("[pytest]\nreplay_ignore = (")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "replay_ignore: '(' is no regular expression" in result.stderr.str()


def test_the_fixture_finds_files_beside_the_test(pytester: pytest.Pytester) -> None:
    """The fixture `replay` takes the path of a file beside the test, and the options of the function."""
    pytester.makepyfile(
        """
import json
from pathlib import Path

def test_it(replay):
    values = {"format": "langfuse-integration session", "version": 1, "session": None, "user": None}
    path = Path(__file__).with_name("a.session.json")
    path.write_text(json.dumps({**values, "turns": [], "steps": []}))
    with replay("a.session.json", ignore=["x"]) as session:
        assert len(session.turns) == 0
"""
    )
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_without_a_call_the_test_shows_where_it_goes(lfi: Lfi, tmp_path: Path) -> None:
    """Without `--call` the written module says where the application is to be called; an edited one is kept."""
    recorded()
    done = lfi("test", "Chat", "-o", "here")
    assert done.returncode == 0, done.stderr
    assert "--call" in done.stderr
    module = tmp_path / "here/test_chat_3f_2a.py"
    assert "call your application here" in module.read_text()
    module.write_text("edited = True")
    lfi.ok("test", "Chat", "-o", "here")
    assert module.read_text() == "edited = True"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("farm", "it has not the form module:function"),
        ("replay.farm:nothing", "has no attribute 'nothing'"),
        ("no_module:answer", "No module named 'no_module'"),
        ("replay.farm:model", "the function takes no argument"),
    ],
)
def test_a_function_that_cannot_be_called_is_named(lfi: Lfi, call: str, problem: str) -> None:
    """What is wrong with `--call` is said, and nothing is written."""
    recorded()
    done = lfi("test", "Chat", "--call", call)
    assert done.returncode != 0
    assert problem in " ".join(done.stderr.split())
    assert not Path("tests").exists()


def test_a_session_without_exact_answers_says_how_to_record_one(lfi: Lfi) -> None:
    """Recorded with the setting off, a session cannot be a test; the message names the setting."""
    configure(replayable=False)
    recorded()
    done = lfi("test", "Chat")
    assert done.returncode != 0
    assert "LANGFUSE_INTEGRATION_REPLAYABLE=1" in done.stderr


@pytest.mark.parametrize("at", ["3", "think 2", "think 2 of herder"])
def test_a_fork_is_a_session_that_names_its_origin(lfi: Lfi, journal: Path, at: str) -> None:
    """What comes before the step is replayed, the step itself is live, and the new session says where it came from."""
    recorded()
    text = lfi.ok("fork", "Chat", "--at", at, "--call", "replay.farm:answer")
    assert "at step 3 (think 2 of herder)" in text
    with Archive(journal) as archive:
        forked = archive.replay(text.partition(":")[0])
    assert forked.users == ["u-1"]
    [trace] = forked.traces
    first = {"agent herder": ["generation ScriptedChat", "tool search", "generation ScriptedChat", "tool search"]}
    # The scripted model starts from its beginning when it is asked for the first time, which is at the fork.
    assert trace.tree() == [{"agent herder": [*first["agent herder"], "generation ScriptedChat"]}]
    metadata = trace.roots[0].attributes
    assert metadata["langfuse.trace.metadata.forked_from"] == "Chat 3f/2a"
    assert metadata["langfuse.trace.metadata.forked_at"] == "step 3 (think 2 of herder)"
    line = "forked from Chat 3f/2a at step 3 (think 2 of herder)"
    assert line in lfi.ok("show", forked.session_id or "").splitlines()
    assert line in lfi.ok("show", forked.session_id or "", "--errors").splitlines()
    assert "forked from" not in lfi.ok("show", "Chat 3f/2a")
    shown = json.loads(lfi.ok("show", forked.session_id or "", "--json"))
    assert (shown["forked_from"], shown["forked_at"]) == ("Chat 3f/2a", "step 3 (think 2 of herder)")
    assert "forked_from" not in json.loads(lfi.ok("show", "Chat 3f/2a", "--json"))


@pytest.mark.parametrize(("tools", "searches"), [((), 2), (("--tools", "live"), 2), (("--tools", "recorded"), 1)])
def test_tools_before_a_fork_run_again_or_not(lfi: Lfi, tmp_path: Path, tools: tuple[str, ...], searches: int) -> None:
    """With recorded tools only what follows the fork runs: the one search that the model asks for there."""
    recorded()
    file = tmp_path / "searches"
    lfi.ok("fork", "Chat", "--at", "think 2", "--call", "replay.farm:answer", *tools, FARM_SEARCHES=str(file))
    assert file.read_text().splitlines() == ["hay"] * searches


def test_where_tools_are_answered_from_is_one_of_two(lfi: Lfi) -> None:
    """Another word is a usage error that names both."""
    recorded()
    done = lfi("fork", "Chat", "--at", "think 2", "--call", "replay.farm:answer", "--tools", "dead")
    assert done.returncode == 2
    assert "recorded" in done.stderr
    assert "live" in done.stderr


def test_a_fork_with_another_answer_goes_on_with_it(lfi: Lfi, journal: Path) -> None:
    """`--answer` replaces what the model said at the step."""
    recorded()
    text = lfi.ok("fork", "Chat", "--at", "1", "--answer", "I do not know.", "--call", "replay.farm:answer")
    with Archive(journal) as archive:
        [trace] = archive.replay(text.partition(":")[0]).traces
    assert trace.tree() == [{"agent herder": ["generation ScriptedChat"]}]
    assert trace.roots[0].children[0].output["content"] == "I do not know."


class Asked(TypedDict):
    """The state of a graph that asks the user."""

    food: str


def asking() -> Any:
    """Return a graph that asks the user, and then the model."""

    def ask(state: Asked) -> Asked:
        food = interrupt(f"{state['food']}?")
        return {"food": str(ScriptedChat("Straw.").invoke(f"say {food}").content)}

    graph = StateGraph(Asked)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    return graph.compile(checkpointer=InMemorySaver(), name="asking")


CONFIG: Any = {"configurable": {"thread_id": "t"}}


def test_interrupted_runs_are_the_same_and_go_on_in_a_replay(lfi: Lfi, tmp_path: Path) -> None:
    """The ids of interrupts are no differences; the input of a turn that goes on is that of a `Command`."""
    for session in ("i-a", "i-b"):
        graph = asking()
        with langfuse_manager.session(session, "u-1"):
            for value in ({"food": "hay"}, Command(resume="yes")):
                graph.invoke(value, {**CONFIG, "callbacks": [SessionHandler()]})
    assert langfuse_manager.flush(20).lost == 0
    assert "The sessions did the same" in lfi.ok("diff", "i-a", "i-b")
    lfi.ok("test", "i-a", "--output", ".")
    graph, inputs = asking(), list[Any]()
    answer: dict[str, Any] = {}
    with replay(tmp_path / "i-a.session.json") as session:
        for turn in session.turns:
            inputs.append(turn.input)
            value = Command(**turn.input) if "resume" in turn.input else turn.input
            answer = graph.invoke(value, {**CONFIG, "callbacks": [SessionHandler()]})
    assert inputs == [{"food": "hay"}, {"resume": "yes"}]
    assert answer["food"] == "Straw."


def test_a_step_that_does_not_exist_is_refused(lfi: Lfi) -> None:
    """The message lists the steps at which a session can be forked."""
    recorded()
    done = lfi("fork", "Chat", "--at", "think 9", "--call", "replay.farm:answer")
    assert done.returncode != 0
    assert "think 1 of herder, search 1 of herder, think 2 of herder" in " ".join(done.stderr.split())
