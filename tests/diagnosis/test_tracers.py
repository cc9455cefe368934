"""Two tracers at once: found in what they recorded, and in the process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from commands import settle
from fresh import run_fresh
from langfuse_integration import langfuse_manager
from langfuse_integration.diagnosis import Finding

Wrong = Callable[[], list[Finding]]

CALLBACKS = """
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langfuse.langchain import CallbackHandler

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler

langfuse_manager.set_session("chat-1", "ada")
chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | FakeListChatModel(responses=["Hay."])
handlers = [SessionHandler()%s]
with langfuse_manager.trace_span("request"):
    chain.invoke({"question": "What do llamas eat?"}, config={"callbacks": handlers})
assert langfuse_manager.flush(20).pending == 0
"""


@pytest.mark.application
@pytest.mark.langchain
def test_langfuses_handler_next_to_ours(wrong: Wrong) -> None:
    """Both handlers in one list: one warning names both, each step has one row, and nothing is left to cure."""
    assert "CallbackHandler" not in run_fresh(CALLBACKS % "")
    assert wrong() == []
    printed = run_fresh(CALLBACKS % ", CallbackHandler()")
    assert printed.count("CallbackHandler") >= 1, printed
    assert wrong() == []


@pytest.mark.application
def test_openinference_next_to_ours(wrong: Wrong) -> None:
    """Spans of an OpenInference tracer inside of a trace of ours."""
    from opentelemetry import trace

    with langfuse_manager.session("chat-1", "ada"), langfuse_manager.trace_span("herder", as_type="agent"):
        tracer = trace.get_tracer("openinference.instrumentation.langchain")
        with tracer.start_as_current_span("ChatModel", attributes={"gen_ai.operation.name": "chat"}):
            pass
    settle()
    (found,) = wrong()
    assert "from this package and from openinference.instrumentation.langchain" in found.said


@pytest.mark.application
def test_spans_of_others_are_no_second_tracer(wrong: Wrong) -> None:
    """A span of the application's own, or of `@observe`, beside ours is what it should be."""
    from opentelemetry import trace

    with langfuse_manager.session("chat-1", "ada"), langfuse_manager.trace_span("herder", as_type="agent"):
        with trace.get_tracer("app").start_as_current_span("query", attributes={"gen_ai.operation.name": "chat"}):
            pass
        with trace.get_tracer("langfuse-sdk").start_as_current_span(
            "observed", attributes={"langfuse.observation.type": "generation"}
        ):
            pass
    settle()
    assert wrong() == []


@pytest.mark.application
@pytest.mark.langchain
@pytest.mark.llamaindex
@pytest.mark.mcp
def test_what_is_instrumented_is_said_and_nothing_is_loaded_for_it() -> None:
    """The frameworks are found without being imported; each adapter is named while its instrument() is in force."""
    said = run_fresh(
        """
        import sys
        from langfuse_integration.diagnosis import examine

        def said():
            print([found.said for found in examine() if found.about == "adapters"])

        said()
        print([name for name in ("langchain_core", "llama_index", "mcp", "streamlit") if name in sys.modules])
        import langfuse_integration_langchain as ours
        ours.instrument()
        said()
        import langfuse_integration_llamaindex, langfuse_integration_mcp
        langfuse_integration_llamaindex.instrument()
        langfuse_integration_mcp.instrument()
        said()
        ours.uninstrument()
        said()
        """
    )
    found = "'Frameworks found: langchain, llamaindex, mcp'"
    assert said.splitlines() == [
        f"[{found}]",
        "[]",
        f"[{found}, 'Instrumented in this process: langchain']",
        f"[{found}, 'Instrumented in this process: langchain, llamaindex, mcp']",
        f"[{found}, 'Instrumented in this process: llamaindex, mcp']",
    ]


@pytest.mark.application
@pytest.mark.langchain
def test_an_instrumentor_of_others_in_this_process() -> None:
    """OpenInference attached to LangChain, where our adapter is loaded as well."""
    pytest.importorskip("openinference.instrumentation.langchain")
    said = run_fresh(
        """
        from openinference.instrumentation.langchain import LangChainInstrumentor
        import langfuse_integration_langchain
        from langfuse_integration.diagnosis import examine

        assert not [found for found in examine() if found.wrong]
        LangChainInstrumentor().instrument()
        print([found.cure for found in examine() if found.wrong])
        """
    )
    assert said.strip() == "['Remove LangChainInstrumentor().instrument().']"
