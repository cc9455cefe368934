"""What a model call tells about itself, read aspect by aspect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult

from langfuse_integration.recording import tracing
from langfuse_integration.recording.observation import Observation
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, models

pytestmark = pytest.mark.langchain


def reading(result: LLMResult) -> Observation:
    """Return an observation after all readers have seen *result*."""
    observation = Observation("model", "generation", tracing.recorder, None)
    models.read(observation, models.ModelAnswer(result))
    return observation


def test_an_older_model_tells_beside_its_answer() -> None:
    """Model and tokens in `llm_output`, the reason to stop with the generation."""
    found = reading(
        LLMResult(
            generations=[[Generation(text="Hm.", generation_info={"finish_reason": "length"})]],
            llm_output={"model_name": "davinci", "token_usage": {"prompt_tokens": 3, "completion_tokens": 2}},
        )
    )
    assert (found.model, found.usage_details) == ("davinci", {"input": 3, "output": 2})
    assert found.metadata == {"finish_reason": "length"}


REPORT = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "input_token_details": {"cache_read": 2}}
RAW = {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 2}


@pytest.mark.parametrize(
    "result",
    [
        LLMResult(generations=[[Generation(text="Hay.", generation_info={"usage_metadata": REPORT})]]),
        LLMResult(generations=[[ChatGeneration(message=AIMessage("Hay.", usage_metadata=REPORT))]]),  # type: ignore[arg-type]
        LLMResult(generations=[[ChatGeneration(message=AIMessage("Hay.", response_metadata={"usage": RAW}))]]),
        LLMResult(generations=[[ChatGeneration(message=AIMessage("Hay."), generation_info={"token_usage": RAW})]]),
        LLMResult(generations=[[ChatGeneration(message=AIMessage("Hay."))]], llm_output={"usage": RAW}),
        LLMResult(
            generations=[
                [
                    ChatGeneration(
                        message=AIMessage(
                            "Hay.",
                            response_metadata={
                                "amazon-bedrock-invocationMetrics": {
                                    "inputTokenCount": 5,
                                    "outputTokenCount": 3,
                                    "cacheReadInputTokenCount": 2,
                                }
                            },
                        )
                    )
                ]
            ]
        ),
    ],
    ids=["beside a text", "message", "answer's metadata", "beside a message", "llm_output", "bedrock"],
)
def test_tokens_are_found_wherever_an_integration_puts_them(result: LLMResult) -> None:
    """Text models report beside the generation, Bedrock in the answer's metadata; cached tokens count in each place."""
    assert reading(result).usage_details == {"input": 5, "input_cached_tokens": 2, "output": 3}


def test_tokens_told_in_several_places_count_once() -> None:
    """The message's own usage is the one that counts, and several candidates of one prompt share it."""
    message = AIMessage("Hay.", usage_metadata=REPORT, response_metadata={"usage": RAW})  # type: ignore[arg-type]
    result = LLMResult(generations=[[ChatGeneration(message=message)] * 2], llm_output={"token_usage": RAW})
    assert reading(result).usage_details == {"input": 5, "input_cached_tokens": 2, "output": 3}


def test_an_empty_answer_tells_nothing() -> None:
    """An error's result has no generations: nothing is read, and nothing breaks."""
    for result in (LLMResult(generations=[]), LLMResult(generations=[[]])):
        found = reading(result)
        assert (found.model, found.usage_details, found.metadata) == (None, None, None)
        assert models.ModelAnswer(result).output is None


def test_several_candidates_are_a_list() -> None:
    """n=2: both answers are the output, and the calls of both are asked for."""
    both = [ChatGeneration(message=AIMessage(text)) for text in ("a", "b")]
    answer = models.ModelAnswer(LLMResult(generations=[both]))
    assert [message.content for message in answer.output] == ["a", "b"]


def test_calls_that_could_not_be_read_are_asked_for_too() -> None:
    """A model writes broken arguments: the call is known by its name and id."""
    broken = {"name": "search", "args": "{", "id": "c1", "error": "broken", "type": "invalid_tool_call"}
    message = AIMessage("", invalid_tool_calls=[broken])  # type: ignore[list-item]
    answer = models.ModelAnswer(LLMResult(generations=[[ChatGeneration(message=message)]]))
    assert [(call["name"], call["id"]) for call in answer.tool_calls] == [("search", "c1")]


def test_parameters_are_those_that_are_set() -> None:
    """What is None, and what is shown elsewhere, is left out; the model's name may stand among them."""
    given_ = {"model": "gpt-5", "temperature": 0.0, "stop": None, "tools": [1], "tool_choice": "any", "_type": "chat"}
    observation = Observation("model", "generation", tracing.recorder, None)
    models.ModelCall({}, lambda _: None, given_)(observation)
    assert observation.model_parameters == {"temperature": 0.0, "tool_choice": "any"}
    assert observation.model == "gpt-5"


# -- the prompt that was used


@pytest.mark.parametrize(
    ("message", "response_id"),
    [
        (AIMessage("Hm.", response_metadata={"ResponseMetadata": {"RequestId": "r-1"}}), "r-1"),
        (AIMessage("Hm.", id="gen-1"), "gen-1"),
        (AIMessage("Hm.", id="lc_run--1"), None),
        (AIMessage("Hm.", id="run-1-0"), None),
        (AIMessage("Hm."), None),
    ],
)
def test_the_id_of_a_response_is_the_providers(message: AIMessage, response_id: str | None) -> None:
    """An id that the provider gave is kept; one that LangChain made up for the message is not."""
    found = reading(LLMResult(generations=[[ChatGeneration(message=message)]]))
    assert (found.metadata or {}).get("response_id") == response_id


class Thinker(BaseChatModel):
    """A model that thinks aloud, and calls two tools."""

    @property
    def _llm_type(self) -> str:
        return "thinker"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        message = AIMessage(
            "<think>hm</think>hi",
            response_metadata={"model_name": "m"},
            additional_kwargs={"kept": 1},
            tool_calls=[{"name": "a", "args": {"x": 1}, "id": "1"}, {"name": "b", "args": {}, "id": "2"}],
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def strip(answer: AIMessage) -> None:
    answer.content = str(answer.content).split("</think>")[1]


def tag(answer: AIMessage) -> None:
    answer.additional_kwargs["tag"] = "mine"
    answer.response_metadata["by"] = "me"


def drop(answer: AIMessage) -> None:
    answer.tool_calls.pop()
    answer.tool_calls[0]["args"]["x"] = 99


@pytest.mark.parametrize("change", [strip, tag, drop])
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
def test_an_answer_is_what_the_model_said(sessions: RecordedSessions, change: Any, way: str) -> None:
    """What the application makes of the message afterwards is not in the model's row; the next call's input has it."""
    model, config = Thinker(), {"callbacks": [SessionHandler()]}
    model.invoke("as it is", config)
    if way == "stream":
        [answer] = model.stream("changed", config)
    else:
        answer = model.invoke("changed", config) if way == "invoke" else asyncio.run(model.ainvoke("changed", config))
    change(answer)  # mostly before the worker comes to the row
    model.invoke([HumanMessage("?"), answer], config)
    untouched, changed, later = sessions.observations
    assert changed.output == untouched.output
    assert changed.metadata == untouched.metadata
    assert later.output == untouched.output
