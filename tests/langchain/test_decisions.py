"""Decision models, and other runnables that announce themselves as the call of a model."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import BUCKETS, USAGE, ScriptedChat, call
from scripted_judge import REQUEST, TOLD, Judge

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]
CONFIG: Any = {"callbacks": [SessionHandler()]}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_call_is_a_generation(sessions: RecordedSessions, is_async: bool) -> None:
    """The row has the model that answered, the tokens and the provider's id, also below a chain."""
    chain = RunnableLambda(lambda request: request).with_config(run_name="ask") | Judge(TOLD)
    if is_async:
        asyncio.run(chain.ainvoke(REQUEST, CONFIG))
    else:
        chain.invoke(REQUEST, CONFIG)
    trace = sessions.trace()
    assert trace.tree() == [{"chain RunnableSequence": ["chain ask", "generation Judge"]}]
    row = trace.observations[-1]
    assert (row.model, row.usage) == ("judge-1-2026", {"input": 11, "output": 2})
    assert (row.input, row.output) == (REQUEST, TOLD)
    assert row.metadata == {"lane": "fast", "ls_provider": "acme", "response_id": "req-1"}
    assert all(not other.usage and other.model is None for other in trace.observations[:-1])


def test_a_call_alone_is_a_trace(sessions: RecordedSessions) -> None:
    """Without a chain around it, the call is the only row."""
    Judge(TOLD).invoke(REQUEST, CONFIG)
    assert sessions.trace().tree() == ["generation Judge"]


@pytest.mark.parametrize("answer", [None, "yes", {"model": 3, "usage": "many", "request_id": []}, {"usage": {}}, 7])
def test_any_answer_is_recorded(sessions: RecordedSessions, answer: Any) -> None:
    """An answer of another form leaves the model that was asked, and invents no tokens."""
    Judge(answer).invoke(REQUEST, CONFIG)
    (row,) = sessions.trace().observations
    assert (row.type, row.model, row.usage, row.output) == ("generation", "judge-1", {}, answer)
    assert row.metadata == {"lane": "fast", "ls_provider": "acme"}


def test_a_failed_call_costs_nothing(sessions: RecordedSessions) -> None:
    """The row has the error and the model that was asked, and a cost of zero: a server would invent one."""
    with pytest.raises(ConnectionError):
        Judge(ConnectionError("no route")).invoke(REQUEST, CONFIG)
    (row,) = sessions.trace().observations
    assert (row.level, row.status_message, row.model) == ("ERROR", "ConnectionError: no route", "judge-1")
    assert row.attributes["langfuse.observation.cost_details"] == '{"total":0}'


def test_an_answer_that_is_a_message_is_read(sessions: RecordedSessions) -> None:
    """Model, tokens and the reason to stop of a message stand on the row, as it was when the call ended."""
    told = AIMessage(
        "Hay.", usage_metadata=USAGE, response_metadata={"model_name": "judge-1-2026", "finish_reason": "stop"}
    )
    Judge(told).invoke(REQUEST, CONFIG)
    told.content = "Straw."
    (row,) = sessions.trace().observations
    assert (row.model, row.usage, row.metadata["finish_reason"]) == ("judge-1-2026", BUCKETS, "stop")
    assert row.output == {"role": "assistant", "content": "Hay."}


def test_tokens_stand_on_the_model_below(sessions: RecordedSessions) -> None:
    """A runnable that announces itself as a model, and calls a chat model that reports its tokens: they count once."""

    class Wrapper(Judge):
        def _answer(self, _: Any) -> Any:
            (RunnableLambda(lambda text: text) | ScriptedChat(AIMessage("Hay.", usage_metadata=USAGE))).invoke("hi")
            return TOLD

    Wrapper(None).invoke(REQUEST, CONFIG)
    Judge(TOLD).invoke(REQUEST, CONFIG)
    trace = sessions.traces[0]
    assert trace.tree() == [{"generation Wrapper": ["generation ScriptedChat"]}]
    assert [row.usage for row in trace.observations] == [{}, BUCKETS]
    assert sessions.traces[1].observations[0].usage == {"input": 11, "output": 2}


def _decisions() -> Any:
    decisions = pytest.importorskip("langchain_core.decisions", reason="langchain-core 1.8 has decision models")

    class Classifier(decisions.BaseDecisionModel):  # type: ignore[misc,name-defined]
        answer: dict[str, Any]

        @property
        def _provider(self) -> str:
            return "acme"

        def _classify(self, state: Any, questions: dict[str, Any]) -> Any:
            answers = dict.fromkeys(questions, self.answer)
            return decisions.ClassifierResponse.model_validate({**TOLD, "answers": answers})

    return Classifier


def test_the_model_that_a_router_asks(sessions: RecordedSessions) -> None:
    """The decision stands below its middleware, and the agent's thinks are those of the model that was chosen."""
    classifier = _decisions()
    middleware = pytest.importorskip("langchain.agents.middleware")
    agents = pytest.importorskip("langchain.agents")
    answer = {"type": "choice", "choice": "fast", "probabilities": {"fast": 0.75, "slow": 0.25}, "confidence": 0.5}
    choices = {
        "fast": middleware.ModelChoice(model=ScriptedChat("Hay."), criteria="short"),
        "slow": middleware.ModelChoice(model=ScriptedChat("Grass."), criteria="long"),
    }
    judge = classifier(model="judge-1", answer=answer)
    with warnings.catch_warnings(action="ignore"):  # it is in beta
        router = middleware.ModelRouterMiddleware(choices=choices, instructions="Choose.", classifier=judge)
    agent = agents.create_agent(ScriptedChat("Straw."), middleware=[router], name="herder")
    agent.invoke({"messages": [HumanMessage("What do llamas eat?")]}, CONFIG)
    trace = sessions.trace()
    assert trace.tree() == [
        {
            "agent herder": [
                {"chain ModelRouterMiddleware.before_agent": ["generation Classifier"]},
                "generation ScriptedChat",
            ]
        }
    ]
    decision = trace.named("Classifier")[0]
    assert (decision.model, decision.usage) == ("judge-1-2026", {"input": 11, "output": 2})
    assert decision.output["answers"]["model_route"]["choice"] == "fast"


def test_a_tool_call_that_a_classifier_refuses(sessions: RecordedSessions) -> None:
    """The refused call is an act with ERROR and the reason; the tool has not run."""
    classifier = _decisions()
    middleware = pytest.importorskip("langchain.agents.middleware")
    agents = pytest.importorskip("langchain.agents")
    ran: list[str] = []

    def shear(name: str) -> str:
        """Shear a llama."""
        ran.append(name)
        return "done"

    judge = classifier(model="judge-1", answer={"type": "noul", "noul": 1.0})
    with warnings.catch_warnings(action="ignore"):  # it is in beta
        guard = middleware.AutoModeMiddleware(classifier=judge, tools=["shear"])
    model = ScriptedChat(call("shear", {"name": "Ada"}), "I may not.")
    agent = agents.create_agent(model, [shear], middleware=[guard], name="herder")
    agent.invoke({"messages": [HumanMessage("Shear Ada.")]}, CONFIG)
    trace = sessions.trace()
    assert ran == []
    assert trace.tree() == [
        {
            "agent herder": [
                "generation ScriptedChat",
                "generation Classifier",
                "tool shear",
                "generation ScriptedChat",
            ]
        }
    ]
    (act,) = trace.named("shear")
    assert (act.level, act.input, act.metadata["step_type"]) == ("ERROR", {"name": "Ada"}, "act")
    assert "was blocked" in (act.status_message or "")
    thinks = [row.name for row in trace.observations if row.metadata.get("step_type") == "think"]
    assert thinks == ["ScriptedChat", "ScriptedChat"]
