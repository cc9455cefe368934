"""Others that record what our handler records: their spans give way, and tokens count once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langfuse import get_client, observe
from langfuse.langchain import CallbackHandler
from opentelemetry import trace as trace_api

from langfuse_integration import langfuse_manager
from langfuse_integration_langchain import SessionHandler
from peers.otlp import Receiver

pytestmark = pytest.mark.langchain
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


class Traced(BaseChatModel):
    """A model whose client makes an OpenTelemetry span for each call, as the anthropic SDK does."""

    counts: bool = True

    @property
    def _llm_type(self) -> str:
        return "traced"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
        with trace_api.get_tracer("anthropic").start_as_current_span("messages.create", attributes=attributes) as span:
            span.set_attributes({"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 7})
        usage: Any = USAGE if self.counts else None
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hay.", usage_metadata=usage))])


@pytest.fixture
def config() -> Iterator[dict[str, Any]]:
    """A run's config with our handler."""
    with langfuse_manager.session("s-1", user_id="u-1"):
        yield {"callbacks": [SessionHandler()]}


def names(receiver: Receiver) -> list[str]:
    langfuse_manager.flush(10)
    return sorted(span.name for span in receiver.spans)


def test_the_span_of_a_models_client_gives_way(config: Any, langfuse: Receiver) -> None:
    """Bare, in a chain and in a node, sync and async, twice at once: the generation is the only row of the call."""
    model = Traced()
    model.invoke("q", config)
    asyncio.run(model.ainvoke("q", config))
    (RunnableLambda(lambda x: x, name="first") | model).invoke("q", config)
    RunnableLambda(lambda x: model.batch([x, x], config=None), name="node").invoke("q", config)
    assert names(langfuse) == sorted(["Traced"] * 5 + ["RunnableSequence", "first", "node"])
    assert langfuse.doubled() == {}


def test_a_model_that_counts_no_tokens_keeps_the_span_below_it(config: Any, langfuse: Receiver) -> None:
    """Where the generation has no usage, the client's span is the row that has it."""
    Traced(counts=False).invoke("q", config)
    langfuse_manager.flush(10)
    assert names(langfuse) == ["Traced", "messages.create"]


def test_a_failed_call_has_one_row(config: Any, langfuse: Receiver) -> None:
    """Where the call fails, neither the generation nor the client's span has usage: only the generation is a row."""

    class Failing(Traced):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
            attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
            with trace_api.get_tracer("anthropic").start_as_current_span("messages.create", attributes=attributes):
                raise ConnectionError("no route")

    for call in (lambda: Failing().invoke("q", config), lambda: asyncio.run(Failing().ainvoke("q", config))):
        with pytest.raises(ConnectionError):
            call()
    assert names(langfuse) == ["Failing", "Failing"]
    assert langfuse.doubled() == {}


def test_a_call_beside_a_model_keeps_its_span(config: Any, langfuse: Receiver) -> None:
    """A node that uses a client by itself, before and after a model, has that client's span as its row."""

    def node(value: str) -> str:
        with trace_api.get_tracer("anthropic").start_as_current_span(
            "own", attributes={"gen_ai.operation.name": "chat"}
        ):
            pass
        FakeListChatModel(responses=["Hay."]).invoke(value)
        with trace_api.get_tracer("anthropic").start_as_current_span(
            "own", attributes={"gen_ai.operation.name": "chat"}
        ):
            pass
        return value

    RunnableLambda(node).invoke("q", config)
    assert names(langfuse) == ["FakeListChatModel", "node", "own", "own"]
    assert langfuse.trees() == [("node", ("own",), ("FakeListChatModel",), ("own",))]


@pytest.mark.parametrize("ours_first", [True, False])
def test_beside_langfuses_handler_ours_wins(
    ours_first: bool, langfuse: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Both in one run, in either order: one row for each step, what is inside hangs on ours, and one warning."""

    @observe()
    def helper(value: str) -> str:
        return value

    chain = RunnableLambda(helper, name="node") | Traced()
    get_client()
    callbacks: list[Any] = [SessionHandler(), CallbackHandler()]
    with langfuse_manager.session("s-1", user_id="u-1"):
        chain.invoke("q", {"callbacks": callbacks if ours_first else callbacks[::-1], "run_name": "chain"})
        asyncio.run(Traced().ainvoke("q", {"callbacks": callbacks}))
    assert names(langfuse) == ["Traced", "Traced", "chain", "helper", "node"]
    assert ("chain", ("node", ("helper",)), ("Traced",)) in langfuse.trees()
    (message,) = [record.getMessage() for record in caplog.records if "CallbackHandler" in record.getMessage()]
    assert "Remove CallbackHandler()" in message


def test_langfuses_handler_alone_is_left_alone(langfuse: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A run that only Langfuse's handler records is recorded by it, while another is recorded by ours."""
    get_client()
    theirs, ours = RunnableLambda(lambda x: x, name="theirs"), RunnableLambda(lambda x: x, name="ours")
    ours.invoke("q", {"callbacks": [SessionHandler()]})
    theirs.invoke("q", {"callbacks": [CallbackHandler()]})
    assert names(langfuse) == ["ours", "theirs"]
    assert not [record for record in caplog.records if "CallbackHandler" in record.getMessage()]


@pytest.mark.filterwarnings("ignore")  # of OpenInference's own
def test_openinference_beside_us_is_told_once(
    config: Any, langfuse: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning at the first run names OpenInference and the cure; without a run of ours there is none."""
    pytest.importorskip("openinference.instrumentation.langchain")
    from openinference.instrumentation.langchain import LangChainInstrumentor

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if "LangChainInstrumentor" in record.getMessage()]

    get_client()
    instrumentor: Any = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=trace_api.get_tracer_provider())
    try:
        chain = RunnableLambda(lambda x: x) | RunnableLambda(lambda x: x)
        chain.invoke("q")
        assert said() == []
        for _ in range(2):
            chain.invoke("q", config)
    finally:
        instrumentor.uninstrument()
    (message,) = said()
    assert "Call its uninstrument()" in message
    langfuse_manager.flush(10)
