"""A process that is killed in a node after the graph in it has ended: the graph's row is not lost."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from applications import arrived, deliver, run
from peers.otlp import Receiver

pytestmark = [pytest.mark.langchain, pytest.mark.application]
DYING = """
import signal
from langgraph.graph import START, MessagesState, StateGraph
from langfuse_integration.recording import tracing
from langfuse_integration_langchain import SessionHandler

inner = StateGraph(MessagesState).add_node("say", lambda state: {"messages": [("assistant", "Hm.")]})
inner = inner.add_edge(START, "say").compile(name="inner")

def node(state):
    answer = inner.invoke(state)
    while tracing.recorder.worker is None:
        time.sleep(0.01)
    langfuse_manager.flush(60)
    until_kept("open_spans", 1)
    END
    return answer

outer = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(name="outer")
with langfuse_manager.session("s-1", "ada"):
    outer.invoke({"messages": [("user", "Hello?")]}, {"callbacks": [SessionHandler()]})
"""


@pytest.mark.parametrize(
    "how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(9)", "signal.raise_signal(signal.SIGTERM)"]
)
def test_a_graph_that_had_ended_is_delivered_as_it_ended(receiver: Receiver, journal: Path, how: str) -> None:
    """The graph's row comes once, with its output and without an error, below the root that the process left open."""
    code = -signal.SIGKILL if "SIGKILL" in how else 9 if "exit" in how else -signal.SIGTERM
    run(DYING.replace("END", how), journal, receiver, code_of_exit=code)
    deliver(journal, receiver)
    (inner,) = arrived(receiver, "inner")
    (outer,) = arrived(receiver, "outer")
    assert inner.parent_id == outer.span_id
    assert inner.attributes.get("langfuse.observation.level") != "ERROR"
    assert inner.output["messages"][-1]["content"] == "Hm."
    assert (inner.session_id, inner.user_id) == ("s-1", "ada")
    assert outer.attributes["langfuse.observation.level"] == "ERROR"
    assert receiver.doubled() == {}
