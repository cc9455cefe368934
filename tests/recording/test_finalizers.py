"""What finalizers record: the garbage collector runs them on any thread, between any two lines, also of this package.

Before Python 3.12 it runs them inside of `ContextVar.set`, too; such a process crashed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from applications import deliver, run
from peers.otlp import Receiver

FINALIZERS = """
import gc, threading

collected = []

class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        with langfuse_manager.session("collected"), langfuse_manager.trace_span("collected"):
            collected.append(1)

def generate():
    with langfuse_manager.session("left"), langfuse_manager.trace_span("left"):
        yield

def leave():
    generator = generate()
    next(generator)
    cycle = [generator]
    cycle.append(cycle)

def produce(user):
    until = time.monotonic() + 4
    while time.monotonic() < until:
        with langfuse_manager.session(user), langfuse_manager.trace_span("own"):
            made.append(1)
            Cycle()
            leave()
        time.sleep(0.002)

def disturb():
    until = time.monotonic() + 4
    while time.monotonic() < until:
        if {disturbs}:
            configure()
        langfuse_manager.flush(1)
        langfuse_manager.stats
        time.sleep(0.02)

made = []
gc.set_threshold(7)
threads = [threading.Thread(target=produce, args=(user,)) for user in ("one", "two")]
threads.append(threading.Thread(target=disturb))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
assert len(collected) == len(made)
assert langfuse_manager.flush(60).pending == 0
print(len(made))
"""


@pytest.mark.parametrize("disturbs", [False, True], ids=["flush", "configure"])
def test_what_finalizers_record_breaks_nothing(receiver: Receiver, journal: Path, disturbs: bool) -> None:
    """Nothing crashes, waits for itself, is lost or doubled, and whose thread was interrupted keeps its session."""
    made = int(run(FINALIZERS.format(disturbs=disturbs), journal, receiver))
    deliver(journal, receiver)
    assert made > 100
    counts = Counter(span.name for span in receiver.spans)
    assert counts == {"own": made, "collected": made, "left": made, "next": 1}
    assert receiver.doubled() == {}
    by_id = {span.span_id: span for span in receiver.spans}
    for span in receiver.spans:
        session = span.attributes.get("session.id")
        assert {"own": session in ("one", "two"), "collected": session == "collected", "left": session == "left"}.get(
            span.name, session is None
        ), (span.name, session)
        if span.name == "own" and span.parent_id:
            assert by_id[span.parent_id].name != "collected"


def test_a_session_is_set_while_another_is_being_set(receiver: Receiver, journal: Path) -> None:
    """A finalizer sets a session inside of the call that sets this thread's: nothing crashes, is lost or doubled."""
    code = """
        import contextvars, gc

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                langfuse_manager.set_session("collected")
                ended.append(1)

        ended = []
        for number in range(300):  # a larger context: more is allocated when it changes
            contextvars.ContextVar(f"other {number}").set(number)
        langfuse_manager.set_session("first")
        for number in range(3_000):
            gc.set_threshold(1 + number % 23)
            Cycle()
            langfuse_manager.set_session(f"s-{number}")
            with langfuse_manager.trace_span("row"):
                pass
        gc.set_threshold(700)
        print(len(ended) > 1_000)
    """
    assert run(code, journal, receiver) == "True\n"
    deliver(journal, receiver)
    assert [span.name for span in receiver.spans].count("row") == 3_000
    assert receiver.doubled() == {}


def test_a_flush_on_our_own_threads_waits_for_nothing(receiver: Receiver, journal: Path) -> None:
    """A finalizer, or a handler of log messages, may deliver on the thread that writes or sends: which cannot wait."""
    code = """
        import logging, threading
        from langfuse_integration.recording import tracing

        took = {}

        def flush(*_):
            thread = threading.current_thread().name
            if thread not in took:
                began = time.monotonic()
                langfuse_manager.flush(20)
                took[thread] = time.monotonic() - began

        class Flushes(logging.Handler):
            emit = flush

        logger = logging.getLogger("langfuse_integration")
        logger.setLevel("DEBUG")
        logger.propagate = False
        logger.addHandler(Flushes())
        tracing.recorder.sweeps += (flush,)
        with langfuse_manager.trace_span("row"):
            pass
        langfuse_manager.flush(60)
        print(*(thread for thread, seconds in sorted(took.items()) if seconds < 5))
    """
    assert run(code, journal, receiver) == "langfuse-integration langfuse-integration-sender\n"
    assert [span.name for span in receiver.spans] == ["row"]
