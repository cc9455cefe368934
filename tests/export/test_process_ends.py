"""The ends of a process: whichever way it goes, what it recorded arrives, from itself or from the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from applications import FAULTS_SHOW, PATIENT, application, arrived, assert_once, deliver, output_of, run
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.reading.archive import Archive
from peers.exchange import Exchange
from peers.misbehaviour import hang
from peers.otlp import Receiver
from peers.ports import free_port
from peers.server import Answer
from peers.waiting import until

TEN = """
for number in range(10):
    with langfuse_manager.trace_span(f"span {number}") as span:
        print(span.id, flush=True)
"""
WARM = """
from langfuse_integration.recording import tracing
with langfuse_manager.trace_span("warm") as span:
    print(span.id, flush=True)
while tracing.recorder.worker is None:
    time.sleep(0.01)
langfuse_manager.flush(0.5)
"""


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next lines that an application prints."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


# -- ends that give time


@pytest.mark.parametrize(
    ("ending", "code_of_exit", "logged"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("sys.excepthook = lambda *_: print('boom', file=sys.stderr)\nraise ValueError", 1, "boom"),
    ],
    ids=["end", "exit", "SystemExit", "exception"],
)
def test_an_ordinary_end_delivers(
    receiver: Receiver, journal: Path, ending: str, code_of_exit: int, logged: str
) -> None:
    """The end of the program, sys.exit and an exception wait until Langfuse has everything."""
    ids = run(TEN + ending, journal, receiver, code_of_exit=code_of_exit, logged=logged).split()
    assert_once(receiver, ids)
    assert len(ids) == 10


def test_what_is_recorded_while_it_ends_is_kept(receiver: Receiver, journal: Path) -> None:
    """An exit handler of the application that runs after ours still records into the journal."""
    code = """
        import atexit

        def late():
            with langfuse_manager.trace_span("late") as span:
                print(span.id)

        atexit.register(late)
    """
    ids = run(textwrap.dedent(code) + TEN, journal, receiver).split()
    assert len(ids) == 11
    ids.append(deliver(journal, receiver))
    assert_once(receiver, ids)


def test_a_process_that_records_only_while_it_ends(receiver: Receiver, journal: Path) -> None:
    """Threads cannot be started any more then; the journal is written all the same."""
    code = """
        import atexit

        @atexit.register
        def late():
            with langfuse_manager.trace_span("late") as span:
                print(span.id)
    """
    (late,) = run(code, journal, receiver).split()
    assert_once(receiver, [late, deliver(journal, receiver)])


def test_an_end_is_not_delayed_by_a_langfuse_that_hangs(receiver: Receiver, journal: Path) -> None:
    """The end waits for as long as the setting says, and the rest stays in the journal."""
    receiver.always(hang())
    code = TEN + "print(time.time())"
    *ids, ended_s = run(code, journal, receiver, environment={"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.5"}).split()
    assert time.time() - float(ended_s) < 0.5 + 2.0
    receiver.always(None)
    ids.append(deliver(journal, receiver))
    assert_once(receiver, ids)


def test_an_end_does_not_wait_for_a_langfuse_that_is_not_there(receiver: Receiver, journal: Path) -> None:
    """Where waiting cannot help, the end is at once."""
    receiver.refuse()
    code = TEN + "langfuse_manager.flush(0.1)\nprint(time.time())"
    environment = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "30"}
    *ids, ended_s = run(code, journal, receiver, environment=environment, logged="connection refused").split()
    assert time.time() - float(ended_s) < 25
    receiver.listen()
    ids.append(deliver(journal, receiver))
    assert_once(receiver, ids)


def test_sigint_is_an_ordinary_end(receiver: Receiver, journal: Path) -> None:
    """Ctrl-C with Python's own handling: KeyboardInterrupt, and everything is delivered."""
    with application(TEN + "time.sleep(60)", journal, receiver) as process:
        ids = lines(process, 10)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert_once(receiver, ids)


# -- ends that give none


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "os._exit"])
def test_a_sudden_end_keeps_what_ended_before(receiver: Receiver, journal: Path, how: str) -> None:
    """SIGTERM without a handler, kill -9 and os._exit: what ended a moment before is delivered by the next process.

    The moment is 0.2 s; here it is five times as long, for busy machines, after the worker has loaded its modules.
    """
    code = WARM + TEN + "until_kept('spans', 10)\nprint('ready', flush=True)\n"
    code += "os._exit(7)" if how == "os._exit" else "time.sleep(60)"
    receiver.refuse()
    with application(code, journal, receiver) as process:
        *ids, _ = lines(process, 12)
        if how != "os._exit":
            process.send_signal(signal.Signals[how])
        process.wait(60)
        assert process.returncode == (7 if how == "os._exit" else -signal.Signals[how])
    receiver.listen()
    assert_once(receiver, [*ids, deliver(journal, receiver)])


def test_the_applications_own_handlers_stay(journal: Path, receiver: Receiver) -> None:
    """No signal handler is replaced, and none is installed."""
    code = """
        import signal
        names = [name for name in signal.Signals]
        before = [signal.getsignal(name) for name in names]
        with langfuse_manager.trace_span("query"):
            pass
        langfuse_manager.flush(10)
        print([signal.getsignal(name) for name in names] == before)
    """
    assert run(code, journal, receiver) == "True\n"


# -- fork and spawn


def test_parent_and_child_both_go_on_after_a_fork(receiver: Receiver, journal: Path) -> None:
    """Forked in the middle of its work, both record and deliver; each row is sent by the one that wrote it."""
    code = """
        def record(who, count):
            for number in range(count):
                with langfuse_manager.trace_span(f"{who} {number}") as span:
                    print(span.id, flush=True)

        record("before", 50)
        child = os.fork()
        record("child" if child == 0 else "parent", 50)
        if child == 0:
            assert langfuse_manager.flush(20) == (50, 0, 0), langfuse_manager.stats
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        record("after", 50)
        assert langfuse_manager.flush(20) == (150, 0, 0), langfuse_manager.stats
    """
    ids = run(code, journal, receiver).split()
    assert len(ids) == 200
    assert_once(receiver, ids)


def test_forks_under_load_lose_nothing(receiver: Receiver, journal: Path) -> None:
    """Four threads record while the process is forked again and again: every row of every process arrives once."""
    code = """
        import threading
        go = True

        def work():
            while go:
                with langfuse_manager.trace_span("parent") as span:
                    lines.append(span.id)
                time.sleep(0.001)

        with langfuse_manager.trace_span("parent") as span:
            lines = [span.id]
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            time.sleep(0.05)
            child = os.fork()
            if child == 0:
                for number in range(20):
                    with langfuse_manager.trace_span("child") as span:
                        os.write(1, (span.id + "\\n").encode())
                assert langfuse_manager.flush(20).delivered == 20, langfuse_manager.stats
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        go = False
        for thread in threads:
            thread.join()
        result = langfuse_manager.flush(20)
        assert (result.pending, result.lost) == (0, 0), result
        print(*lines, sep="\\n")
    """
    environment = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # of fork in a process with threads
    ids = run(code, journal, receiver, environment=environment).split()
    assert len(ids) > 200
    assert_once(receiver, ids)


def test_a_span_around_a_fork_is_the_parents(receiver: Receiver, journal: Path) -> None:
    """Both leave the block; only the parent's row is sent, and the child's work stands below it."""
    code = """
        with langfuse_manager.trace_span("around") as around:
            child = os.fork()
            if child == 0:
                with langfuse_manager.trace_span("in the child"):
                    pass
        if child == 0:
            assert langfuse_manager.flush(20) == (1, 0, 0), langfuse_manager.stats
            os._exit(0)
        around.update(output="late")
        assert os.waitpid(child, 0)[1] == 0
    """
    run(code, journal, receiver)
    assert receiver.trees() == [("around", ("in the child",))]
    assert receiver.doubled() == {}


def test_a_daemon_that_outlives_its_parent_ends_its_span(receiver: Receiver, journal: Path) -> None:
    """Forked into the background, the child ends what the parent began and never will."""
    code = """
        parent = os.getpid()
        span = langfuse_manager.trace_span("boot", input="config").__enter__()
        langfuse_manager.flush(5)
        if os.fork():
            os._exit(0)
        while os.getppid() == parent:
            time.sleep(0.01)
        span.update(output="up").end()
        langfuse_manager.flush(20)
    """
    run(code, journal, receiver)  # until the child has closed its output too
    last = arrived(receiver, "boot")[-1]
    assert (last.input, last.output, last.status) == ("config", "up", "UNSET")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver(receiver: Receiver, journal: Path, tmp_path: Path, method: str) -> None:
    """A child that simply returns has delivered what it recorded, whichever way it was started."""
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent("""
            import multiprocessing, sys
            from langfuse_integration import langfuse_manager

            def work(number):
                with langfuse_manager.trace_span(f"work {number}"):
                    pass

            if __name__ == "__main__":
                with langfuse_manager.trace_span("main"):
                    pass
                context = multiprocessing.get_context(sys.argv[1])
                children = [context.Process(target=work, args=(number,)) for number in range(3)]
                for child in children:
                    child.start()
                for child in children:
                    child.join()
                    assert child.exitcode == 0
        """)
    )
    environment = {**os.environ, **receiver.environment(), **PATIENT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    environment["PYTHONWARNINGS"] = "ignore::DeprecationWarning"
    done = subprocess.run([sys.executable, str(script), method], env=environment, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(span.name for span in receiver.spans) == ["main", "work 0", "work 1", "work 2"]


# -- servers

ASGI = """
from langfuse_integration import langfuse_manager

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    with langfuse_manager.trace_span(scope["path"]):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
WSGI = """
import os
from langfuse_integration import langfuse_manager

with langfuse_manager.trace_span("preloaded"):
    pass

def app(environ, start_response):
    with langfuse_manager.trace_span(environ["PATH_INFO"]):
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def asked(port: int, path: str) -> str:
    """What the server answers, once it is up."""

    def answer() -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as found:
                return str(found.read().decode())
        except OSError:
            return None

    said: list[str] = []
    until(lambda: (found := answer()) is not None and (said.append(found) or True), 30, "an answer")
    return said[-1]


@pytest.mark.application
@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "gunicorn --preload"])
def test_a_server_that_is_told_to_stop_keeps_everything(
    receiver: Receiver, journal: Path, tmp_path: Path, server: str
) -> None:
    """SIGTERM to uvicorn and gunicorn: what the requests recorded is delivered, or waits for the next process.

    gunicorn's workers run exit handlers. uvicorn sends itself the signal again at its end, and dies of it: there only
    what ended a moment before is kept.
    """
    (tmp_path / "application.py").write_text(ASGI if server == "uvicorn" else WSGI)
    port = free_port()
    if server == "uvicorn":
        command = ["uvicorn", "application:app", "--port", str(port), "--log-level", "warning"]
    else:
        command = [
            "gunicorn",
            "application:app",
            "--bind",
            f"127.0.0.1:{port}",
            "--workers",
            "2",
            "--log-level",
            "error",
        ]
        command += ["--preload"] * ("--preload" in server)
    environment = {**os.environ, **receiver.environment(), **PATIENT, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    environment["PYTHONWARNINGS"] = "ignore::DeprecationWarning"
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        for number in range(8):
            asked(port, f"/{number}")
        if server == "uvicorn":
            receiver.wait_for(8)
            asked(port, "/last")
            time.sleep(1)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=120)
    assert b"Traceback" not in said, said.decode()
    deliver(journal, receiver)
    names = sorted(span.name for span in receiver.spans)
    further = {"uvicorn": ["/last"], "gunicorn": ["preloaded"] * 2, "gunicorn --preload": ["preloaded"]}[server]
    assert names == sorted([*(f"/{number}" for number in range(8)), *further, "next"])
    assert receiver.doubled() == {}


# -- within one process


def test_a_closed_worker_makes_room_for_another(langfuse: Receiver, journal: Path) -> None:
    """After configure() recording goes on with the new settings, and what was pending is not forgotten."""
    langfuse.refuse()
    with langfuse_manager.trace_span("before"):
        pass
    configure(exit_timeout_s=0.1)
    langfuse.listen()
    with langfuse_manager.trace_span("after"):
        pass
    assert langfuse_manager.flush(20) == (1, 0, 0)
    langfuse.wait_for(2)
    assert langfuse.doubled() == {}
    until(lambda: _empty(journal))


def _empty(journal: Path) -> bool:
    with Archive(journal) as archive:
        return archive.states() == {"pending": 0, "delivered": 0, "set aside": 0}


@pytest.mark.parametrize("keys", [True, False], ids=["langfuse", "local"])
def test_the_worker_is_ready_before_the_first_observation_starts(receiver: Receiver, journal: Path, keys: bool) -> None:
    """A process that is killed once the worker has taken its first rows leaves them whole, and none as an error."""
    code = """
        import signal
        from langfuse_integration.recording import recorder, tracing

        recorder.READY_S = 60.0
        with langfuse_manager.trace_span("first") as first:
            assert tracing.recorder.worker is not None
        ids = [first.id]
        for _ in range(20):
            with langfuse_manager.trace_span("row") as row:
                pass
            ids.append(row.id)
        print(*ids, flush=True)
        while tracing.recorder.worker._handled < 21 * 2:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {} if keys else {"LANGFUSE_PUBLIC_KEY": "", "LANGFUSE_SECRET_KEY": ""}
    ids = run(code, journal, receiver, environment=environment, code_of_exit=-9).split()
    with Archive(journal) as archive:
        assert archive.states()["pending"] == len(ids) == 21
    if keys:
        assert_once(receiver, [*ids, deliver(journal, receiver)])
        assert {span.status_message for span in receiver.spans} == {""}


POOL = """
import multiprocessing
import sys

from langfuse_integration import langfuse_manager


def work(number):
    with langfuse_manager.trace_span(f"child {number}"):
        pass


if __name__ == "__main__":
    with langfuse_manager.session("s-1", "u-1"), langfuse_manager.trace_span("parent"):
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            pool.map(work, range(6))
    langfuse_manager.flush(20)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_in_a_with_block_leaves_the_rows_of_its_workers(
    receiver: Receiver, journal: Path, tmp_path: Path, method: str
) -> None:
    """Workers that are ended by SIGTERM right after the last result write their rows first; none is an error."""
    _run_pool(POOL, method, receiver, journal, tmp_path)
    names = sorted(span.name for span in receiver.spans)
    assert names == [*(f"child {number}" for number in range(6)), "next", "parent"]
    assert {span.attributes.get("langfuse.observation.level") for span in receiver.spans} <= {None, "DEFAULT"}
    assert receiver.doubled() == {}


def test_a_request_in_flight_is_answered_before_a_terminated_worker_ends(
    receiver: Receiver, journal: Path, tmp_path: Path
) -> None:
    """Each worker of a pool is told to end while a slow server holds its request: nothing is sent twice."""

    def slow(exchange: Exchange) -> Answer:
        answer = exchange.accept()
        time.sleep(0.2)
        return answer

    receiver.always(slow)
    source = POOL.replace("        pass\n", "        pass\n    langfuse_manager.flush(0.05)\n", 1)
    _run_pool(source, "fork", receiver, journal, tmp_path)
    names = sorted(span.name for span in receiver.spans)
    assert names == [*(f"child {number}" for number in range(6)), "next", "parent"]


def _run_pool(source: str, method: str, receiver: Receiver, journal: Path, folder: Path) -> None:
    file = folder / "pool.py"
    file.write_text(source)
    settings = {**FAULTS_SHOW, "LANGFUSE_INTEGRATION_JOURNAL": str(journal)}
    with subprocess.Popen(
        [sys.executable, str(file), method],
        env={**os.environ, **receiver.environment(), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        printed, errors = output_of(process)
    assert process.returncode == 0, printed + errors
    deliver(journal, receiver)
