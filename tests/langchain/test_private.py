"""The names that we know of LangChain and LangGraph beyond their interfaces: still there, and not needed to record."""

from __future__ import annotations

import subprocess
import sys
from contextvars import ContextVar
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import manager
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tools import tool
from langgraph import errors

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, private
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain


def test_the_names_are_still_there() -> None:
    """A release that renames one of these makes this test fail before a user's tree reads worse."""
    assert private._child_config is var_child_runnable_config
    assert private.flow_of(errors.GraphInterrupt) == "interrupted"
    assert private.flow_of(errors.ParentCommand) == "handed over"
    assert private.flow_of(errors.GraphBubbleUp) == "GraphBubbleUp"
    assert private.flow_of(errors.GraphRecursionError) is None
    private.require_model_seams()
    assert private.flow_of(ValueError) is None


def test_the_manager_of_async_text_models_still_forgets_handlers() -> None:
    """The two lists that we complete are still there; in a release that tells all handlers, the repair can go."""
    variables = manager.AsyncCallbackManager.on_llm_start.__code__.co_varnames
    assert {"non_inline_handlers", "non_inline_tasks"} <= set(variables)
    assert private.missing_starts(1) is None


def test_metadata_and_tags_are_still_those(sessions: RecordedSessions) -> None:
    """What LangChain tells of an agent, its nodes and its steps, read off a real run."""
    told: list[tuple[str, Any, Any]] = []

    class Listener(SessionHandler):
        def on_chain_start(self, serialized: Any, inputs: Any, **told_: Any) -> None:
            told.append((told_["name"], told_["tags"], told_["metadata"]))

        def on_chat_model_start(self, serialized: Any, messages: Any, **told_: Any) -> None:
            told.append(("model call", told_["tags"], told_["metadata"]))

    create_agent(ScriptedChat("Done."), [], name="helper").invoke({"messages": []}, {"callbacks": [Listener()]})
    (_, _, of_agent), (node, node_tags, _), (_, model_tags, of_model) = told
    assert private.is_agent(of_agent, node, {})
    assert node == private.THINKING_NODE == of_model["langgraph_node"]
    assert private.position(node_tags) == "node"
    assert private.position(model_tags) == "step"


def test_without_langchains_variable_runs_are_recorded_all_the_same(
    no_open_runs: RecordedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ContextVar is gone: spans inside of a tool are roots of their own, everything else is as ever."""
    monkeypatch.setattr(private, "_child_config", ContextVar("gone", default=None))

    @tool
    def work(query: str) -> str:
        """Work."""
        with langfuse_manager.trace_span("inside"):
            return query

    agent = create_agent(ScriptedChat(call("work", {"query": "x"}), "Done."), [work], name="helper")
    with langfuse_manager.session("s-alice", "alice"):
        agent.invoke({"messages": [("user", "x")]}, {"callbacks": [SessionHandler()]})
    assert sorted(str(trace.tree()) for trace in no_open_runs.traces) == [
        "['span inside']",
        "[{'agent helper': ['generation ScriptedChat', 'tool work', 'generation ScriptedChat']}]",
    ]
    assert {found.session_id for found in no_open_runs.observations} == {"s-alice"}


def test_runs_that_others_announce_halfway_do_no_harm(no_open_runs: RecordedSessions) -> None:
    """An end, a token or an error of a run that nobody opened: ignored."""
    from uuid import uuid4

    from langchain_core.outputs import LLMResult

    handler, run_id = SessionHandler(), uuid4()
    handler.on_chain_end({}, run_id=run_id)
    handler.on_chain_error(ValueError("x"), run_id=run_id)
    handler.on_llm_new_token("x", run_id=run_id)
    handler.on_stream_event({"event": "content-block-delta"}, run_id=run_id)
    handler.on_llm_end(LLMResult(generations=[]), run_id=run_id)
    handler.on_llm_error(ValueError("x"), run_id=run_id)
    handler.on_tool_end("x", run_id=run_id)
    handler.on_tool_error(ValueError("x"), run_id=run_id)
    handler.on_retriever_end([], run_id=run_id)
    handler.on_retriever_error(ValueError("x"), run_id=run_id)
    handler.on_agent_action(object(), run_id=run_id)
    RunnableLambda(lambda value: value).invoke(1, {"callbacks": [handler]})
    assert no_open_runs.trace().tree() == ["chain RunnableLambda"]


# -- importing


def run_python(code: str) -> str:
    """Run *code* in a fresh interpreter, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_without_langchain_the_import_says_what_to_install() -> None:
    """An ImportError that names the extra, and a kind of this package's own errors."""
    code = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "langchain_core":
            raise ModuleNotFoundError(name)

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "langchain_core" else find_spec(name, *more)
sys.meta_path.insert(0, Hidden())
from langfuse_integration import LangfuseIntegrationError
try:
    import langfuse_integration_langchain
except ImportError as error:
    print(isinstance(error, LangfuseIntegrationError), error)
"""
    assert run_python(code) == "True langchain-core is not installed: pip install 'langfuse-integration[langchain]'.\n"


def test_importing_does_nothing() -> None:
    """No thread, no source, no hook, no langgraph and no langfuse: all of it waits for the first handler."""
    code = """
import sys, threading
from langchain_core.tracers import context
hooks = len(context._configure_hooks)
import langfuse_integration_langchain
from langfuse_integration.recording import ambient, tracing
print(threading.active_count(), ambient._sources, tracing.recorder.sweeps, len(context._configure_hooks) - hooks)
print([name for name in ("langgraph", "langfuse", "langchain") if name in sys.modules])
"""
    assert run_python(code) == "1 () () 0\n[]\n"
