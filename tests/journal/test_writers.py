"""Spans that end while the journal cannot be written: nobody takes them for open when their process is gone."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from applications import application, arrived, deliver
from langfuse_integration.journal.liveness import Liveness
from peers.misbehaviour import status
from peers.otlp import Receiver

CODE = """
import resource, sqlite3
still_open = langfuse_manager.trace_span("still open", input="question")
still_open.__enter__()
request = langfuse_manager.trace_span("request", input="question", as_type="agent")
observation = request.__enter__()
for _ in range(1_000):
    try:
        with sqlite3.connect(f"file:{os.environ['LANGFUSE_INTEGRATION_JOURNAL']}?mode=ro", uri=True) as db:
            if db.execute("SELECT count(*) FROM open_spans").fetchone() == (2,):
                break
    except sqlite3.Error:
        pass
    time.sleep(0.01)
db.close()
print("open", flush=True)
sys.stdin.readline()
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
observation.update(output="answer")
request.__exit__(None, None, None)
langfuse_manager.flush(5)
print("ended", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(journal: Path) -> Iterator[None]:
    """Lock the journal's file, as another process does for too long."""
    other = sqlite3.connect(journal, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def end_while_it_cannot_be_written(journal: Path, receiver: Receiver, why: str, how: str) -> None:
    """Let a process end its agent run while the journal is locked or its disk is full, and then end itself."""
    with application(CODE, journal, receiver, why, environment={"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "3"}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        if why == "locked":
            with locked(journal):
                end(process, how)
        else:
            end(process, how)


def end(process: subprocess.Popen[str], how: str) -> None:
    """Let the agent run of a process end, and then the process."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ended\n"
    if how == "killed":
        process.kill()
    else:
        process.stdin.write("\n")
        process.stdin.flush()
    process.wait(60)


@pytest.mark.parametrize("how", [pytest.param("exits", marks=pytest.mark.slow), "killed"])
@pytest.mark.parametrize("why", ["locked", "full"])
def test_what_was_delivered_from_memory_is_not_ended_again(
    receiver: Receiver, journal: Path, why: str, how: str
) -> None:
    """An agent run that ended while the journal could not be written arrives once, with its answer, as no error."""
    end_while_it_cannot_be_written(journal, receiver, why, how)
    deliver(journal, receiver)
    deliver(journal, receiver)
    (request,) = arrived(receiver, "request")
    assert (request.output, request.status) == ("answer", "UNSET")
    (still_open,) = arrived(receiver, "still open")
    assert (still_open.status, still_open.status_message) == ("ERROR", "the process ended")
    assert receiver.doubled() == {}
    assert len(receiver.spans) == 4


@pytest.mark.slow
def test_what_was_lost_with_the_memory_is_an_error(receiver: Receiver, journal: Path) -> None:
    """Journal locked and Langfuse away: the end of the run is lost, and the next process says that it was cut off."""
    receiver.always(status(503))
    end_while_it_cannot_be_written(journal, receiver, "locked", "killed")
    receiver.always(None)
    deliver(journal, receiver)
    (request,) = arrived(receiver, "request")
    assert (request.input, request.status_message) == ("question", "the process ended")


def test_the_list_of_ended_spans_goes_with_the_lock_file(tmp_path: Path) -> None:
    """A list replaces the previous one, of any length, and is gone once the writer has left."""
    liveness = Liveness(tmp_path / "journal.sqlite3")
    liveness.lock(7)
    assert liveness.ended(7) == set()
    many = {f"{number:016x}" for number in range(1, 2000)}
    liveness.list_ended(7, many)
    assert liveness.ended(7) == many
    liveness.list_ended(7, ["00000000000000ff"])
    assert liveness.ended(7) == {"00000000000000ff"}
    liveness.unlock(7)
    assert liveness.ended(7) == set()
    assert list((tmp_path / "journal.sqlite3-writers").iterdir()) == []
