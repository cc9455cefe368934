"""The run that crashed: what was open when a process died arrives as an ERROR that says so, with what it had."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from applications import application, arrived, deliver, run
from langfuse_integration.reading.archive import Archive
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.spans import Span

ENDED = ("ERROR", "the process ended", "ERROR", "the process ended")
DYING = """
import signal
from langfuse_integration.recording import tracing

root = langfuse_manager.trace_span("request", input={"question": "alpacas?"}, metadata={"step": 1})
with langfuse_manager.session("s-1", "ada"):
    observation = root.__enter__()
    agent = langfuse_manager.trace_span("agent", input="go", as_type="agent").__enter__()
    with langfuse_manager.trace_span("done"):
        pass
    open_leaf = langfuse_manager.trace_span("leaf").__enter__()
while tracing.recorder.worker is None:
    time.sleep(0.01)
langfuse_manager.flush(60)
until_kept("open_spans", 2)
"""


def ending_of(span: Span) -> tuple[object, ...]:
    """How an observation ended: in Langfuse's words and in OpenTelemetry's."""
    kept = span.attributes
    level, message = kept.get("langfuse.observation.level"), kept.get("langfuse.observation.status_message")
    return level, message, span.status, span.status_message


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_what_was_open_at_a_crash_is_delivered_by_the_next_process(receiver: Receiver, journal: Path, how: str) -> None:
    """Root and agent are ERROR 'the process ended', with input and session; an open leaf alone is not known."""
    code = DYING + f"os.kill(os.getpid(), signal.{how})\ntime.sleep(60)"
    run(code, journal, receiver, code_of_exit=-signal.Signals[how])
    assert [span.name for span in receiver.spans] == ["done"]
    deliver(journal, receiver)
    (request,), (agent,), (done,) = (arrived(receiver, name) for name in ("request", "agent", "done"))
    assert receiver.trees() == [("request", ("agent", ("done",))), ("next",)]
    assert ending_of(request) == ending_of(agent) == ENDED
    assert (request.input, agent.input, agent.session_id, agent.user_id) == (
        {"question": "alpacas?"},
        "go",
        "s-1",
        "ada",
    )
    assert agent.type == "agent"
    assert request.end_ns == agent.end_ns >= done.end_ns  # when the process was alive last
    assert receiver.doubled() == {}
    assert deliver(journal, receiver) != ""
    assert len(receiver.spans) == 5  # ended once, whoever comes next


@pytest.mark.parametrize("how", ["os._exit(9)", "signal.raise_signal(signal.SIGTERM)"])
def test_what_was_open_at_a_hard_exit_is_delivered_by_the_process_itself(
    receiver: Receiver, journal: Path, how: str
) -> None:
    """A process that ends itself says of what is open that the process ended, and leaves nothing to the next one."""
    run(DYING + how, journal, receiver, code_of_exit=9 if "exit" in how else -signal.SIGTERM)
    assert receiver.trees() == [("request", ("agent", ("done",)))]
    assert ending_of(arrived(receiver, "request")[0]) == ENDED
    assert ending_of(arrived(receiver, "done")[0])[0] != "ERROR"
    deliver(journal, receiver)
    assert receiver.doubled() == {}
    assert len(receiver.spans) == 4


def test_what_is_open_when_an_exception_ends_the_process_is_delivered_by_itself(
    receiver: Receiver, journal: Path
) -> None:
    """An uncaught exception: what blocks hold ends with the exception, what else is open as ERROR, at once."""
    code = """
        sys.excepthook = lambda *_: print("boom", file=sys.stderr)
        held = langfuse_manager.trace_span("held", input="kept").__enter__()
        with langfuse_manager.trace_span("block", input="also kept"):
            raise ValueError("no alpacas")
    """
    run(code, journal, receiver, code_of_exit=1, logged="boom")
    (held,), (block,) = arrived(receiver, "held"), arrived(receiver, "block")
    assert receiver.trees() == [("held", ("block",))]
    assert (ending_of(held), held.input) == (ENDED, "kept")
    assert (ending_of(block)[0], block.input) == ("ERROR", "also kept")
    assert "no alpacas" in str(ending_of(block)[1])
    assert receiver.doubled() == {}
    with Archive(journal) as archive:
        assert archive.states() == {"pending": 0, "delivered": 0, "set aside": 0}


def test_what_a_worker_thread_had_open_is_delivered_too(receiver: Receiver, journal: Path) -> None:
    """A daemon thread in the middle of an agent run when the process ends: ERROR, with what it had."""
    code = """
        import threading
        entered = threading.Event()

        def work():
            with langfuse_manager.trace_span("agent", input="go", as_type="agent"):
                with langfuse_manager.trace_span("step"):
                    pass
                entered.set()
                time.sleep(60)

        threading.Thread(target=work, daemon=True).start()
        entered.wait()
    """
    run(code, journal, receiver)
    assert receiver.trees() == [("agent", ("step",))]
    assert ending_of(arrived(receiver, "agent")[0]) == ENDED


def test_what_was_open_in_an_outage_comes_with_the_rest(receiver: Receiver, journal: Path) -> None:
    """Killed while Langfuse was gone: the next process delivers what had ended and what had not."""
    receiver.always(status(503))
    dying = DYING.replace("flush(60)", "flush(2)") + "until_kept('spans', 1)\nos.kill(os.getpid(), signal.SIGKILL)"
    run(dying, journal, receiver, code_of_exit=-9, logged="HTTP 503")
    receiver.always(None)
    deliver(journal, receiver)
    assert receiver.trees() == [("request", ("agent", ("done",))), ("next",)]
    assert ending_of(arrived(receiver, "request")[0]) == ENDED
    assert receiver.doubled() == {}


def test_what_was_open_below_a_remote_parent_is_delivered(receiver: Receiver, journal: Path) -> None:
    """The first row of a service below another's row is no root, and is not lost when the service dies in it."""
    code = """
        import signal
        from langfuse_integration.propagation import extract, inject
        if len(sys.argv) > 1:
            with extract({"traceparent": sys.argv[1], "baggage": sys.argv[2]}):
                langfuse_manager.trace_span("downstream", input="order 7").__enter__()
                with langfuse_manager.trace_span("part"):
                    pass
            langfuse_manager.flush(60)
            until_kept("open_spans", 1)
            os.kill(os.getpid(), signal.SIGKILL)
        with langfuse_manager.session("s-1"), langfuse_manager.trace_span("upstream"):
            headers = inject({})
            print(headers["traceparent"], headers["baggage"])
    """
    traceparent, baggage = run(code, journal, receiver).split()
    claimed = f"{baggage},langfuse_trace_id={traceparent.split('-')[1]}"  # as a caller that is in Langfuse says
    run(code, journal, receiver, traceparent, claimed, code_of_exit=-9)
    deliver(journal, receiver)
    (downstream,) = arrived(receiver, "downstream")
    assert receiver.trees() == [("upstream", ("downstream", ("part",))), ("next",)]
    assert (ending_of(downstream), downstream.input, downstream.session_id) == (ENDED, "order 7", "s-1")
    assert "langfuse.internal.is_app_root" not in downstream.attributes


def test_functions_under_observe_that_were_open_are_delivered(receiver: Receiver, journal: Path) -> None:
    """`@observe` of the Langfuse SDK: root and agents, with input, type and session; other open steps are not known."""
    code = """
        import signal
        from langfuse import observe

        @observe(as_type="tool")
        def search(query):
            langfuse_manager.flush(60)
            until_kept("open_spans", 2)
            os.kill(os.getpid(), signal.SIGKILL)

        @observe
        def plan():
            return "search"

        @observe(as_type="agent")
        def herder(question):
            plan()
            search("hay")

        @observe
        def request(question):
            herder(question)

        with langfuse_manager.session("s-1", "ada"):
            request("What do llamas eat?")
    """
    run(code, journal, receiver, code_of_exit=-9)
    assert [span.name for span in receiver.spans] == ["plan"]
    deliver(journal, receiver)
    (request,), (herder,), (plan,) = (arrived(receiver, name) for name in ("request", "herder", "plan"))
    assert receiver.trees() == [("request", ("herder", ("plan",))), ("next",)]
    assert ending_of(request) == ending_of(herder) == ENDED
    assert request.input == herder.input == {"args": ["What do llamas eat?"], "kwargs": {}}
    assert (request.type, herder.type) == ("span", "agent")
    assert {(span.session_id, span.user_id) for span in (request, herder, plan)} == {("s-1", "ada")}
    assert receiver.doubled() == {}


def test_what_ended_under_observe_is_there_once(receiver: Receiver, journal: Path) -> None:
    """A root that was noted while it was open arrives as it ended, and nothing of it is left in the journal."""
    code = """
        from langfuse import observe

        @observe
        def request(question):
            langfuse_manager.flush(60)
            until_kept("open_spans", 1)
            return "Hay."

        with langfuse_manager.session("s-1"):
            request("What do llamas eat?")
    """
    run(code, journal, receiver)
    deliver(journal, receiver)
    (request,) = arrived(receiver, "request")
    assert receiver.trees() == [("request",), ("next",)]
    assert (request.output, request.attributes.get("langfuse.observation.level")) == ("Hay.", None)
    assert receiver.doubled() == {}


def test_without_keys_the_replay_shows_what_crashed(journal: Path) -> None:
    """Mode local: the crashed run is in the journal, an ERROR as soon as another process records."""
    run(DYING + "os.kill(os.getpid(), signal.SIGKILL)", journal, code_of_exit=-9)
    run('with langfuse_manager.trace_span("next"): pass', journal)
    with Archive(journal) as archive:
        found = {
            one.name: (one.level, one.status_message) for trace in archive.traces(None) for one in trace.observations
        }
        found |= {
            one.name: (one.level, one.status_message) for trace in archive.traces("s-1") for one in trace.observations
        }
    assert found["request"] == found["agent"] == ("ERROR", "the process ended")
    assert found["done"][0] == "DEFAULT"


def test_what_a_living_process_has_open_is_left_to_it(receiver: Receiver, journal: Path) -> None:
    """Another process neither ends nor sends what is still open in a living one."""
    code = """
        with langfuse_manager.trace_span("long", input="go") as span:
            langfuse_manager.flush(60)
            until_kept("open_spans", 1)
            print("open", flush=True)
            sys.stdin.readline()
            span.update(output="done")
    """
    with application(code, journal, receiver) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        deliver(journal, receiver)
        assert [span.name for span in receiver.spans] == ["next"]
        process.communicate("\n", timeout=60)
    (long,) = arrived(receiver, "long")
    assert (long.status, long.output) == ("UNSET", "done")
    assert receiver.doubled() == {}
