"""SIGTERM to a child of multiprocessing: it ends as without a handler, and what it recorded is in the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from applications import deliver, run
from peers.otlp import Receiver

CHILD = """
    import asyncio, multiprocessing, re, signal, threading

    context = multiprocessing.get_context("fork")
    held = context.Lock()

    def work(connection):
        with langfuse_manager.trace_span("row"):
            pass
{work}

    def ended(child):
        child.join(30)
        if child.exitcode is None:
            child.kill()
            return "never"
        return child.exitcode

    if __name__ == "__main__":
        held.acquire()
        mine, theirs = context.Pipe()
        child = context.Process(target=work, args=(theirs,))
        child.start()
{parent}
        print(ended(child))
"""
TOLD = """
mine.recv()
child.terminate()
"""


def _run(work: str, journal: Path, receiver: Receiver, *, parent: str = TOLD, logged: str = "") -> list[str]:
    """Run a child that records a row and does *work*, until it ends; return what is printed, its exit code last."""
    code = CHILD.format(work=_indented(work), parent=_indented(parent))
    printed = run(code, journal, receiver, logged=logged).split()
    deliver(journal, receiver)
    assert [span.name for span in receiver.spans if span.name != "next"] == ["row"]
    return printed


def _indented(code: str) -> str:
    return "\n".join(" " * 8 + line for line in code.strip("\n").splitlines())


def test_a_child_ends_whose_main_thread_is_not_told(receiver: Receiver, journal: Path) -> None:
    """Another thread gets the signal, as it may, or it comes just before the main thread blocks for ever."""
    work = """
def get_signal():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=get_signal, daemon=True).start()
held.acquire()
"""
    assert _run(work, journal, receiver, parent="") == ["-15"]


@pytest.mark.slow
def test_children_end_that_are_told_at_any_moment(receiver: Receiver, journal: Path) -> None:
    """A busy thread beside the main one, which is about to block: one of 150 did not end."""
    code = """
        import multiprocessing, random

        def work(held, connection):
            with langfuse_manager.trace_span("row"):
                pass
            connection.send("ready")

            def keep_busy():
                until = time.monotonic() + 5
                while time.monotonic() < until:
                    sum(range(100))

            threading.Thread(target=keep_busy, daemon=True).start()
            for _ in range(random.randrange(20_000)):
                pass
            held.acquire()

        if __name__ == "__main__":
            import threading

            context = multiprocessing.get_context("fork")
            held = context.Lock()
            held.acquire()
            codes = set()
            for _ in range(300):
                mine, theirs = context.Pipe()
                child = context.Process(target=work, args=(held, theirs))
                child.start()
                mine.recv()
                time.sleep(random.random() * 0.04)
                child.terminate()
                child.join(20)
                codes.add(child.exitcode)
                child.kill()
                child.join()
            print(*codes)
    """
    assert run(code, journal, receiver).split() == ["-15"]
    deliver(journal, receiver)
    assert [span.name for span in receiver.spans].count("row") == 300
    assert receiver.doubled() == {}


def test_a_child_ends_in_code_that_lets_no_other_thread_run(receiver: Receiver, journal: Path) -> None:
    """A regular expression that never ends keeps the interpreter, and calls handlers of signals."""
    work = """
connection.send("ready")
re.match("(a+)+$", "a" * 100 + "b")
"""
    assert _run(work, journal, receiver) == ["-15"]


def test_the_end_of_a_grandchild_is_not_that_of_the_child(receiver: Receiver, journal: Path) -> None:
    """What listens for signals in a process does so for it alone, also where a copy of it is told to end."""
    work = """
grandchild = os.fork()
if not grandchild:
    held.acquire()
time.sleep(0.3)
os.kill(grandchild, signal.SIGTERM)
print(-os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.5)
print("alive", flush=True)
connection.send("ready")
held.acquire()
"""
    assert _run(work, journal, receiver) == ["15", "alive", "-15"]


def test_a_child_that_handles_sigterm_itself_keeps_its_handler(receiver: Receiver, journal: Path) -> None:
    """A handler that is set before the first observation or after it stays."""
    work = """
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
connection.send("ready")
time.sleep(60)
"""
    assert _run(work, journal, receiver) == ["7"]
    before = """
        import multiprocessing, signal

        def work(connection):
            signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
            with langfuse_manager.trace_span("row"):
                pass
            connection.send("ready")
            time.sleep(60)

        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe()
        child = context.Process(target=work, args=(theirs,))
        child.start()
        mine.recv()
        child.terminate()
        child.join()
        print(child.exitcode)
    """
    assert run(before, journal, receiver) == "7\n"
    deliver(journal, receiver)
    assert [span.name for span in receiver.spans].count("row") == 2


def test_an_event_loop_in_a_child_handles_its_signals(receiver: Receiver, journal: Path) -> None:
    """A loop that handles SIGTERM ends as it says; once it is closed, the signal ends the child again."""
    work = """
langfuse_manager.flush(10)  # asyncio leaves no handler behind

async def serve():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    connection.send("ready")
    await over.wait()

asyncio.run(serve())
print("served", flush=True)
connection.send("ready")
time.sleep(60)
"""
    parent = """
mine.recv()
child.terminate()
mine.recv()
child.terminate()
"""
    assert _run(work, journal, receiver, parent=parent) == ["served", "-15"]


def test_a_child_that_closes_all_descriptors_writes_no_signal_into_its_files(
    receiver: Receiver, journal: Path, tmp_path: Path
) -> None:
    """A file that is opened later has none of our descriptors' numbers."""
    file = tmp_path / "file"
    work = f"""
langfuse_manager.flush(10)
for number in set(range(3, 1_000)) - {{connection.fileno()}}:
    try:
        os.close(number)
    except OSError:
        pass
files = [open({str(file)!r}, "wb") for _ in range(20)]
signal.signal(signal.SIGUSR1, lambda *_: None)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Python says that it could not write
os.kill(os.getpid(), signal.SIGUSR1)
connection.send("ready")
time.sleep(60)
"""
    assert _run(work, journal, receiver) == ["-15"]
    assert file.read_bytes() == b""


def test_a_child_whose_threads_are_greenlets_is_not_stopped(receiver: Receiver, journal: Path) -> None:
    """With gevent nothing waits for signals in a greenlet: it would keep all others from running."""
    pytest.importorskip("gevent")
    code = """
        from gevent import monkey

        monkey.patch_all()
        import multiprocessing

        def work(connection):
            with langfuse_manager.trace_span("row"):
                pass
            time.sleep(0.5)
            connection.send("ready")
            time.sleep(60)

        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe()
        child = context.Process(target=work, args=(theirs,))
        child.start()
        print(mine.poll(20))
        child.terminate()
        child.join(20)
        print(child.exitcode)
        child.kill()
    """
    assert run(code, journal, receiver).split() == ["True", "-15"]
    deliver(journal, receiver)
    assert sorted(span.name for span in receiver.spans) == ["next", "row"]
