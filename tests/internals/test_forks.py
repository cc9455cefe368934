"""Forks: a child is never left with a lock, an import or a participant's state of its parent."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from applications import deliver, run
from fresh import run_fresh
from langfuse_integration.internals import forks
from peers.otlp import Receiver

CALLS = ("set_session", "trace_span", "flush", "langchain", "llamaindex", "mcp")


def in_child(check: str, setup: str = "") -> str:
    """What a forked child prints that runs *check*; it is killed when it hangs."""
    return run_fresh(
        f"""
import os, signal, sys, threading
from langfuse_integration import langfuse_manager
from langfuse_integration.internals import forks
{setup}
sys.stdout.flush()
child = os.fork()
if not child:
    signal.alarm(10)
    {check}
    sys.stdout.flush()
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_lock_that_a_thread_of_the_parent_holds_is_free_in_the_child(reentrant: bool) -> None:
    """A child takes and gives back a lock that another thread of its parent held at the fork."""
    setup = f"""
lock = forks.Lock(reentrant={reentrant})
thread = threading.Thread(target=lock.acquire)
thread.start()
thread.join()
"""
    assert in_child("print(lock.acquire(timeout=1)); lock.release(); print(lock.acquire(timeout=1))", setup) == (
        "True\nTrue\n0\n"
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_block_that_is_left_in_the_child_needs_no_lock(reentrant: bool) -> None:
    """A thread that forks while it holds a lock leaves the block in the child too, and the lock is free after it."""
    out = run_fresh(
        f"""
        import os
        from langfuse_integration.internals import forks

        lock = forks.Lock(reentrant={reentrant})
        with lock:
            child = os.fork()
        if not child:
            os._exit(0 if lock.acquire(blocking=False) else 1)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert out == "0\n"


def test_giving_back_a_lock_that_nobody_holds_raises() -> None:
    """Outside of a forked child a lock is as strict as Python's."""
    with pytest.raises(RuntimeError):
        forks.Lock().release()


def test_a_lock_that_is_gone_is_forgotten() -> None:
    """Locks are kept by those who use them only."""
    lock = forks.Lock()
    (reference,) = [reference for reference in forks._locks if reference() is lock]
    del lock
    gc.collect()
    assert reference not in forks._locks


def test_participants_are_told_in_order_and_all_of_them() -> None:
    """Each participant is told once on each side, in the order of registration, also after one that raises."""
    out = run_fresh(
        """
        import os, sys
        from langfuse_integration.internals import forks

        def say(text):
            os.write(1, text.encode() + b"\\n")

        sys.unraisablehook = lambda failure: say(f"said: {failure.exc_value}")

        class Participant:
            def __init__(self, name):
                self.name = name
            def before_fork(self, deadline):
                say(f"before {self.name}")
                if self.name == "bad":
                    raise ValueError("bad")
            def after_fork_in_parent(self):
                say(f"parent {self.name}")
            def after_fork_in_child(self):
                say(f"child {self.name}")

        kept = [Participant(name) for name in ("bad", "second", "late")]
        gone = Participant("gone")
        for one in (*kept[:2], gone):
            forks.register(one)
        forks.register(kept[2], after_imports=True)
        del gone, one
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        """
    ).splitlines()
    assert [line for line in out if line.startswith("before")] == ["before bad", "before second", "before late"]
    assert [line for line in out if line.startswith("parent")] == ["parent bad", "parent second", "parent late"]
    assert [line for line in out if line.startswith("child")] == ["child late", "child bad", "child second"]
    assert "said: bad" in out


def test_who_registers_during_a_fork_is_told_of_the_next_one_only() -> None:
    """A participant that was not told before a fork is not told after it in the parent."""

    class Participant:
        told: list[str]

        def __init__(self) -> None:
            self.told = []

        def before_fork(self, deadline: float) -> None:
            self.told.append("before")

        def after_fork_in_parent(self) -> None:
            self.told.append("parent")

        def after_fork_in_child(self) -> None: ...

    first, second = Participant(), Participant()
    forks.register(first)
    forks._before()
    forks.register(second)
    forks._after_in_parent()
    assert (first.told, second.told) == (["before", "parent"], [])


def test_two_threads_fork_at_the_same_time() -> None:
    """Forks of several threads at once wait for each other, and all children and the parent can record."""
    out = run_fresh(
        """
        import os, signal, threading
        from langfuse_integration import langfuse_manager

        with langfuse_manager.trace_span("warm"):
            pass
        langfuse_manager.flush(10)
        ends = []

        def fork():
            for _ in range(10):
                child = os.fork()
                if not child:
                    signal.alarm(20)
                    with langfuse_manager.trace_span("child"):
                        pass
                    os._exit(0)
                ends.append(os.waitpid(child, 0)[1])

        threads = [threading.Thread(target=fork) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with langfuse_manager.trace_span("after"):
            pass
        print(len(ends), set(ends), langfuse_manager.flush(10).pending)
        """
    )
    assert out == "30 {0} 0\n"


def test_a_fork_waits_for_a_module_that_another_thread_loads_for_us(tmp_path: Path) -> None:
    """A child can import what another thread of its parent was importing for this package when it forked."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.5)\nready = True\n")
    (tmp_path / "langfuse_integration_slow.py").write_text("def load():\n    import slow_module\n")
    out = run_fresh(
        """
        import os, signal, sys, threading
        sys.path.insert(0, os.getcwd())
        import langfuse_integration_slow
        from langfuse_integration.internals import forks

        thread = threading.Thread(target=langfuse_integration_slow.load)
        thread.start()
        while "slow_module" not in sys.modules:
            pass
        child = os.fork()
        if not child:
            signal.alarm(10)
            import slow_module
            os._exit(0 if slow_module.ready else 1)
        thread.join()
        print(os.waitpid(child, 0)[1])
        """,
        cwd=tmp_path,
    )
    assert out == "0\n"


def test_the_application_s_own_hook_in_a_child_may_record() -> None:
    """A hook of the application that runs in the child before ours finds every lock and queue renewed; so it stays."""
    setup = """
def hook():
    with langfuse_manager.trace_span("hook"):
        pass
    print(langfuse_manager.flush(5).delivered)
os.register_at_fork(after_in_child=hook)
with langfuse_manager.trace_span("parent"):
    pass
langfuse_manager.flush(5)
"""
    assert in_child("hook()", setup) == "1\n2\n0\n"


@pytest.mark.parametrize(("modules", "first"), [("os, signal, threading", "1"), ("os, signal", "0")])
def test_a_hook_that_comes_before_ours_may_record(modules: str, first: str) -> None:
    """The child is told once, whoever asks first: told twice, it would take its journal for its parent's.

    Before `threading` has been told, no thread can start: what is recorded then is delivered with what follows.
    """
    out = run_fresh(
        f"""
        import {modules}

        def hook():
            with langfuse_manager.trace_span("hook"):
                pass
            print(langfuse_manager.flush(5).delivered, flush=True)

        os.register_at_fork(after_in_child=hook)
        from langfuse_integration import langfuse_manager

        with langfuse_manager.trace_span("parent"):
            pass
        langfuse_manager.flush(5)
        child = os.fork()
        if not child:
            signal.alarm(20)
            hook()
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    )
    assert out == f"{first}\n2\n0\n"


def test_children_record_whatever_their_parent_collects(receiver: Receiver, journal: Path) -> None:
    """Threads record for the first time, and finalizers in the hooks of forks: no child hangs or loses a row.

    Nor does `logging` complain, which our first import loads while a fork is under way.
    """
    code = """
        import gc, signal, threading, warnings

        warnings.simplefilter("ignore")

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                with langfuse_manager.session("collected"), langfuse_manager.trace_span("collected"):
                    pass

        def generate():
            with langfuse_manager.session("left"), langfuse_manager.trace_span("left"):
                yield

        def leave():
            Cycle()
            generator = generate()
            next(generator)
            cycle = [generator]
            cycle.append(cycle)

        def produce():
            while time.monotonic() < until:
                leave()
                time.sleep(0.002)

        gc.set_threshold(7)
        until = time.monotonic() + 5
        threads = [threading.Thread(target=produce) for _ in range(3)]
        for thread in threads:
            thread.start()
        ends = []
        while time.monotonic() < until:
            child = os.fork()
            if not child:
                signal.alarm(30)
                for _ in range(3):
                    leave()
                    with langfuse_manager.session("child"), langfuse_manager.trace_span("child"):
                        pass
                os._exit(0)
            ends.append(os.waitpid(child, 0)[1])
        for thread in threads:
            thread.join()
        gc.collect()
        langfuse_manager.flush(60)
        print(len(ends), *set(ends))
    """
    count, *ends = map(int, run(code, journal, receiver).split())
    deliver(journal, receiver)
    assert count > 10
    assert ends == [0]
    assert [span.name for span in receiver.spans].count("child") == 3 * count
    assert receiver.doubled() == {}
    sessions = {(span.name, span.attributes.get("session.id")) for span in receiver.spans}
    assert sessions == {(name, name) for name in ("child", "collected", "left")} | {("next", None)}


def _stressed(count: int, calls: tuple[str, ...], timeout_s: float) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("forking.py")), str(count), *calls],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    failed: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return failed


def test_no_child_of_a_busy_process_hangs() -> None:
    """With three busy threads in the parent none of 60 children hangs in its first call."""
    assert _stressed(60, ("set_session", "trace_span"), 300) == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("call", CALLS)
def test_none_of_many_children_hangs(call: str) -> None:
    """With three busy threads in the parent none of 350 children hangs, for every kind of public call."""
    assert _stressed(350, (call,), 1800) == {}
