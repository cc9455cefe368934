"""Session files: readable, the same in every run, without secrets and machine paths; damaged ones are refused."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent

from langchain_runs import search
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.errors import SessionFileUnreadable
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.volatile import VolatileParts
from langfuse_integration.testing import NotRecorded, ReplayDiverged, replay
from langfuse_integration.testing_kit.replay import session_file
from langfuse_integration.testing_kit.replay.recording import Recording, recording_of
from langfuse_integration_langchain import SessionHandler
from replay.recordings import record
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain

CONFIG: Any = {"callbacks": [SessionHandler()]}


def herder(*replies: Any) -> Any:
    """Return an agent whose model answers that."""
    return create_agent(ScriptedChat(*replies), [search], name="herder")


def ask(agent: Any, text: str = "What do alpacas eat?") -> str:
    """Return what the agent answers."""
    return str(agent.invoke({"messages": [("user", text)]}, {"callbacks": [SessionHandler()]})["messages"][-1].content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a session with one turn and two thinks."""
    file = tmp_path / "a.session.json"
    record(lambda: ask(herder(call("search", {"query": "hay"}), "Hay.")), file)
    return file


def test_a_recording_read_back_is_the_same(path: Path, tmp_path: Path) -> None:
    """What was written is read back, and written again it is the same text."""
    recording = session_file.read(path)
    again = tmp_path / "again.session.json"
    session_file.write(recording, again)
    assert again.read_text() == path.read_text()
    assert [step.label for step in recording.steps] == ["think 1 of herder", "search 1 of herder", "think 2 of herder"]
    assert recording.steps[2].input["messages"][-1]["content"] == "found hay"


def test_messages_stand_in_a_file_once(path: Path) -> None:
    """A step holds the messages that are new in it."""
    first, _, second = json.loads(path.read_text())["steps"]
    assert [message["role"] for message in first["input"]["messages"]] == ["user"]
    assert second["continues"] == 1
    assert [message["role"] for message in second["messages"]] == ["assistant", "tool"]
    assert "input" not in second
    assert "with" not in second


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_all_replays_are_identical(path: Path, count: int) -> None:
    """A hundred replays give equal messages; ids of answers are the recorded ones."""
    agent = herder(AssertionError("the model was called"))
    seen: set[str] = set()
    for _ in range(count):
        with replay(path) as session:
            for turn in session.turns:
                messages = agent.invoke(turn.input)["messages"]
        dumped = [message.model_dump(exclude={"id"} if message.type != "ai" else None) for message in messages]
        seen.add(json.dumps(dumped))
    assert len(seen) == 1


Edit = Callable[[dict[str, Any]], object]


def edited(path: Path, change: Edit) -> Path:
    """Change a session file."""
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda values: values.update(version=4), r"it has version 4, this release reads 1, 2, 3"),
        (lambda values: values.pop("version"), r"it has version None"),
        (lambda values: values.pop("format"), r'it has no "format"'),
        (lambda values: values.pop("steps"), r"'steps' is missing"),
        (lambda values: values["steps"][0].pop("input"), r"'input' is missing"),
        (lambda values: values["steps"].pop(0), r"step 3 continues step 1, which is not before it"),
        (lambda values: values["steps"][0].update(kind="walk"), r"kind 'walk' is none of model, mcp, tool, ret"),
        (lambda values: values["steps"][0].update(step="one"), r"step 'one' is no number"),
        (lambda values: values["steps"][1].update(step=1), r"step 1 does not follow step 1"),
        (lambda values: values["steps"][0].update(answer=[]), r"the answer of step 1 is no object"),
        (lambda values: values.update(turns=None), r"TypeError"),
    ],
)
def test_an_edited_file_says_what_is_wrong(
    path: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    """Of another version, or changed by hand into something else, a file is refused with the reason and the cure."""
    with pytest.raises(SessionFileUnreadable, match=problem) as refused:
        replay(edited(path, change)).__enter__()
    assert "write it anew with `lfi test`" in str(refused.value)


def test_a_cut_or_missing_file_is_refused(path: Path, tmp_path: Path) -> None:
    """A file that ends half-way, is no JSON, or is not there, is refused with its path."""
    text = path.read_text()
    for left in (text[: len(text) // 2], "", "[]", '"words"'):
        path.write_text(left)
        with pytest.raises(SessionFileUnreadable, match=r"a\.session\.json cannot be read"):
            replay(path).__enter__()
    with pytest.raises(SessionFileUnreadable, match="No such file"):
        replay(tmp_path / "none.session.json").__enter__()


def test_an_answer_edited_by_hand_answers(path: Path) -> None:
    """A developer may change what a model answers: the application gets that."""

    def change(values: dict[str, Any]) -> None:
        values["steps"][2]["answer"]["generations"][0]["content"] = "Straw."

    edited(path, change)
    with replay(path):
        assert ask(herder(AssertionError())) == "Straw."


def test_a_step_without_an_exact_answer_says_how_to_record_one(path: Path) -> None:
    """Where a recording holds no exact answer, the step and the setting are named."""
    edited(path, lambda values: values["steps"][2].update(answer=None))
    with replay(path) as session:
        with pytest.raises(NotRecorded, match=r"step 3 \(think 2 of herder\).*LANGFUSE_INTEGRATION_REPLAYABLE"):
            ask(herder(AssertionError()))
        session.allow(3)


def test_a_masked_session_is_replayed_as_it_was_masked(tmp_path: Path, journal: Path) -> None:
    """With the mask in place, masked inputs are the same; without it, what the mask hid is named once."""

    def mask(data: Any, **_: Any) -> Any:
        return json.loads(json.dumps(data).replace("alpaca-4711", "***"))

    configure(mask=mask)
    with langfuse_manager.session("s-1"):
        ask(herder(call("search", {"query": "alpaca-4711"}), "It is alpaca-4711."), "Where is alpaca-4711?")
    assert langfuse_manager.flush(20).lost == 0
    with Archive(journal) as archive:
        recording = recording_of(archive.replay("s-1"))
    file = tmp_path / "a.session.json"
    session_file.write(recording, file)
    assert "alpaca-4711" not in file.read_text()
    with replay(file):
        assert ask(herder(AssertionError()), "Where is alpaca-4711?") == "It is ***."
    configure(mask=None)
    with replay(file) as session:
        ask(herder(AssertionError()), "Where is alpaca-4711?")
        [divergence] = session.divergences
        assert divergence.lines == ["message 1 (user):", "- Where is ***?", "+ Where is alpaca-4711?"]
        session.allow("alpaca-4711")


def test_no_secret_and_no_machine_path_is_in_a_file(tmp_path: Path) -> None:
    """Keys, tokens and passwords become markers, and paths of the machine `.`, `~` and `<tmp>`."""
    secrets = ["sk-proj-0123456789abcdef0123", "ghp_0123456789abcdef0123", "AKIA0123456789ABCDEF"]
    places = [str(Path.home() / "notes.txt"), str(Path.cwd() / "docs/a.md"), tempfile.gettempdir() + "/x1/a.txt"]
    text = " and ".join([*secrets, "Bearer abcdefghijklmnop", *places])
    file = tmp_path / "a.session.json"
    replies = (call("search", {"query": text, "password": "hunter2-hunter2"}), text)
    record(lambda: ask(herder(*replies), text), file)
    written = file.read_text()
    folders = (str(Path.home()), str(Path.cwd()), tempfile.gettempdir() + "/")
    for secret in (*secrets, "abcdefghijklmnop", "hunter2-hunter2", *folders):
        assert secret not in written
    assert "~/notes.txt" in written
    assert "./docs/a.md" in written
    with replay(file):
        ask(herder(AssertionError()), text)


def test_ids_times_and_temporary_paths_are_not_compared(tmp_path: Path) -> None:
    """What is different in every run is no divergence; a change beside it is."""
    file = tmp_path / "a.session.json"

    def context(word: str = "sheep") -> str:
        folder = tempfile.mkdtemp()
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        return f"It is {now}, request {uuid.uuid4()}, {folder}/a.txt, http://localhost:{40_000 + len(word)}, {word}"

    record(lambda: ask(herder("Yes."), context()), file)
    with replay(file):
        ask(herder(AssertionError()), context())
    with pytest.raises(ReplayDiverged, match="goats"), replay(file):
        ask(herder(AssertionError()), context("goats"))


def test_a_user_adds_what_is_not_compared(tmp_path: Path) -> None:
    """Patterns given to `replay`, or to the session, are ignored as well."""
    file = tmp_path / "a.session.json"
    record(lambda: ask(herder("Yes."), "ticket A-1"), file)
    with replay(file, ignore=[r"ticket \w-\d+"]):
        ask(herder(AssertionError()), "ticket B-22")
    with replay(file) as session:
        session.ignore(r"ticket \w-\d+")
        ask(herder(AssertionError()), "ticket C-3")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-12-01", "2026-12-02"),
        ("version 1.2", "version 1.3"),
        ("call_customer", "call_supplier"),
        ("12345", "12346"),
    ],
)
def test_what_may_matter_is_compared(one: str, other: str) -> None:
    """Dates, versions, numbers and names are no volatile parts."""
    rules = VolatileParts()
    assert rules.key({"text": one}) != rules.key({"text": other})


def test_a_connection_is_not_opened(path: Path) -> None:
    """A tool that opens a connection, or looks up a name, is told which step it belongs to."""
    import urllib.request

    with replay(path) as session:
        with pytest.raises(NotRecorded, match=r"at the start: a connection to 127\.0\.0\.1:9 is opened"):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        with pytest.raises(NotRecorded, match=r"a connection to langfuse\.example:80"):
            urllib.request.urlopen("http://langfuse.example/")
        assert len(session.divergences) == 2
        session.allow("a connection", "was not asked for")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_a_unix_socket_outside_is_not_opened(path: Path, tmp_path: Path) -> None:
    """A server of the machine is not reached; a pair within the process, and so an event loop, works."""
    address = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen()
        with replay(path) as session:
            for given in (str(address), bytes(address)):
                with socket.socket(socket.AF_UNIX) as client, pytest.raises(NotRecorded, match=re.escape(str(address))):
                    client.connect(given)
            with pytest.raises(NotRecorded):
                asyncio.run(asyncio.open_unix_connection(str(address)))
            one, other = socket.socketpair()
            with one, other:
                one.sendall(b"x")
                assert other.recv(1) == b"x"
            session.allow("a connection", "not asked for")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))


def test_an_empty_recording_is_replayed(tmp_path: Path) -> None:
    """A session without any step replays without a seam."""
    file = tmp_path / "a.session.json"
    session_file.write(Recording(None, None, [], []), file)
    with replay(file) as session:
        assert list(session.turns) == []
