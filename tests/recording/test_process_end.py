"""Ends of a process that run no exit handler: what ended well arrives whole, and the end is never held up."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from applications import application, arrived, run
from fresh import run_fresh
from peers.misbehaviour import hang
from peers.otlp import Receiver


@pytest.mark.parametrize("seconds", [0, 1.5])
def test_a_forked_job_that_ends_by_os_exit_arrives_whole(receiver: Receiver, journal: Path, seconds: float) -> None:
    """Each of three forked jobs, short or long, delivers its tree with its output, and no error."""
    code = f"""
        for number in range(3):
            child = os.fork()
            if not child:
                with langfuse_manager.session("s-1", "u-1"), langfuse_manager.trace_span(f"job {{number}}") as job:
                    with langfuse_manager.trace_span("step"):
                        time.sleep({seconds})
                    job.update(output="the answer")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    """
    run(code, journal, receiver)
    assert sorted(receiver.trees()) == [(f"job {number}", ("step",)) for number in range(3)]
    assert {span.output for span in receiver.spans if span.name != "step"} == {"the answer"}
    assert {(span.status, span.session_id) for span in receiver.spans} == {("UNSET", "s-1")}


def test_a_child_that_recorded_nothing_ends_at_once(receiver: Receiver, journal: Path) -> None:
    """os._exit costs nothing where there is nothing to deliver, though the parent records."""
    code = """
        with langfuse_manager.trace_span("parent"):
            pass
        langfuse_manager.flush(10)
        began = time.monotonic()
        child = os.fork()
        if not child:
            began = time.monotonic()
            from langfuse_integration.recording import process_end
            process_end._deliver = lambda real=process_end._deliver: (real(), os.write(1, str(threads()).encode()))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    start = "import threading\ndef threads():\n    return [one.name for one in threading.enumerate()]\n"
    import textwrap

    assert run(start + textwrap.dedent(code), journal, receiver) == "['MainThread']"


def test_a_langfuse_that_hangs_does_not_keep_a_process(receiver: Receiver, journal: Path) -> None:
    """os._exit waits no longer than the exit time-out for a server that does not answer; the row stays for later."""
    receiver.always(hang(60))
    code = """
        with langfuse_manager.trace_span("kept"):
            pass
        os._exit(3)
    """
    began = time.monotonic()
    environment = {"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "0.5"}
    run(code, journal, receiver, environment=environment, code_of_exit=3)
    assert time.monotonic() - began < 30


def test_os_exit_in_a_thread_and_below_a_lock_ends_the_process(receiver: Receiver, journal: Path) -> None:
    """Whatever the caller holds and whichever thread it is, the process ends and its row arrives."""
    code = """
        import threading
        from langfuse_integration.recording import tracing

        def end():
            with langfuse_manager.trace_span("row"):
                pass
            with tracing.recorder._starting:
                os._exit(4)

        threading.Thread(target=end).start()
        time.sleep(60)
    """
    with application(code, journal, receiver, environment={"LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "1"}) as process:
        assert process.wait(40) == 4


def test_a_handled_signal_is_the_application_s(receiver: Receiver, journal: Path) -> None:
    """raise_signal calls the application's own handler, and records go on after it."""
    code = """
        import signal
        signal.signal(signal.SIGTERM, lambda *_: print("handled"))
        with langfuse_manager.trace_span("before"):
            pass
        signal.raise_signal(signal.SIGTERM)
        with langfuse_manager.trace_span("after"):
            pass
        print(langfuse_manager.flush(20).delivered)
    """
    assert run(code, journal, receiver).split() == ["handled", "2"]
    assert len(arrived(receiver)) == 2


def test_a_refused_thread_delays_delivery_only(receiver: Receiver, journal: Path) -> None:
    """Where no thread can be started for a while, rows are written, said once, and delivered when threads are back."""
    code = """
        import threading
        from langfuse_integration.langfuse_sdk import provider  # of others, some want a thread while they are imported

        start = threading.Thread.start

        def refused(thread):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = refused
        for number in range(3):
            with langfuse_manager.trace_span(f"refused {number}"):
                pass
        threading.Thread.start = start
        with langfuse_manager.trace_span("later"):
            pass
        print(*langfuse_manager.flush(20))
    """
    printed = run(code, journal, receiver, logged="rows are written on the application's own threads for now")
    assert printed.split() == ["4", "0", "0"]
    assert sorted(span.name for span in receiver.spans) == ["later", "refused 0", "refused 1", "refused 2"]


def test_nothing_is_replaced_before_something_is_recorded() -> None:
    """Importing and setting a session leave os._exit and raise_signal as they are."""
    out = run_fresh(
        """
        import os, signal
        before = os._exit, signal.raise_signal
        from langfuse_integration import langfuse_manager
        langfuse_manager.set_session("s")
        print(before == (os._exit, signal.raise_signal))
        """
    )
    assert out == "True\n"


def test_uvicorn_that_is_told_to_end_delivers(receiver: Receiver, journal: Path, tmp_path: Path) -> None:
    """What the last request before SIGTERM recorded arrives, though uvicorn dies of the signal again."""
    (tmp_path / "web.py").write_text(
        "from langfuse_integration import langfuse_manager\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    with langfuse_manager.trace_span('work'):\n        pass\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': b'ok'})\n"
    )
    code = """
        import socket, signal, threading, urllib.request, uvicorn

        listener = socket.create_server(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d/" % listener.getsockname()[1]

        def visit():
            urllib.request.urlopen(url).read()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=visit, daemon=True).start()
        server = uvicorn.Server(uvicorn.Config("web:app", log_level="warning", lifespan="off"))
        server.run(sockets=[listener])
    """
    environment = {"PYTHONPATH": str(tmp_path)}
    run(code, journal, receiver, environment=environment, code_of_exit=-signal.SIGTERM)
    assert [span.name for span in receiver.spans] == ["work"]
