"""What a model call tells about itself, read aspect by aspect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langfuse.model import Prompt_Text, TextPromptClient

from langfuse_integration.recording import tracing
from langfuse_integration.recording.observation import Observation
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler, models
from scripted_chat import ScriptedChat

pytestmark = pytest.mark.langchain

tokens = st.integers(0, 1000)


def usage(taken: int, given_out: int, into: dict[str, int] | None = None, out: dict[str, int] | None = None) -> Any:
    """Return LangChain's usage metadata."""
    found: dict[str, Any] = {"input_tokens": taken, "output_tokens": given_out, "total_tokens": taken + given_out}
    if into is not None:
        found["input_token_details"] = into
    if out is not None:
        found["output_token_details"] = out
    return found


@pytest.mark.parametrize(
    ("told", "model", "expected"),
    [
        (usage(10, 5), None, {"input": 10, "output": 5}),
        (usage(10, 5, {"cache_read": 4}), None, {"input": 6, "input_cached_tokens": 4, "output": 5}),
        (usage(10, 5, {"cache_creation": 3}), None, {"input": 7, "input_cache_creation": 3, "output": 5}),
        (usage(10, 5, {}, {"reasoning": 2}), "gpt-5", {"input": 10, "output": 3, "output_reasoning_tokens": 2}),
        (usage(10, 5, {}, {"reasoning": 2}), "gemini-3-pro", {"input": 10, "output": 3, "output_reasoning": 2}),
        (usage(10, 5, {}, {"reasoning": 2}), "claude-5", {"input": 10, "output": 5}),
        (usage(10, 5, {"cache_creation": 3}), "gpt-5", {"input": 10, "output": 5}),
        (
            usage(10, 5, {"cache_creation": 3, "ephemeral_5m_input_tokens": 3}),
            "claude-5",
            {"input": 7, "input_cache_creation": 3, "output": 5},
        ),
        (usage(10, 5, {}, {"reasoning": 2}), "us.anthropic.claude-5-v1:0", {"input": 10, "output": 5}),
        (
            usage(10, 5, {"cache_creation": 0, "ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2}),
            "claude-5",
            {"input": 5, "input_cache_creation": 3, "input_cache_creation_1h": 2, "output": 5},
        ),
        (
            usage(10, 5, {"priority": 6, "priority_cache_read": 4}, {"priority": 3, "priority_reasoning": 2}),
            "gpt-5",
            {"input": 6, "input_cached_tokens": 4, "output": 3, "output_reasoning_tokens": 2},
        ),
        (
            usage(10, 5, {"audio": 3}, {"audio": 1}),
            None,
            {"input": 7, "input_audio_tokens": 3, "output": 4, "output_audio_tokens": 1},
        ),
    ],
)
def test_details_become_buckets_of_their_own(told: Any, model: str | None, expected: dict[str, int]) -> None:
    """LangChain's details are parts of its totals; Langfuse adds buckets up."""
    assert models.buckets(told, model) == expected


@given(tokens, tokens, tokens, tokens, tokens, tokens)
def test_buckets_add_up_to_the_totals(read: int, written: int, fresh: int, heard: int, thought: int, said: int) -> None:
    """Whatever the details, no token is counted twice and none is lost."""
    told = usage(
        read + written + fresh + heard,
        thought + said,
        {"cache_read": read, "cache_creation": written, "audio": heard},
        {"reasoning": thought},
    )
    for model in (None, "gpt-5", "claude-5", "gemini-3-pro"):
        found = models.buckets(told, model)
        assert sum(found.values()) == told["total_tokens"]
        assert all(count >= 0 for count in found.values())


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
    models.ModelCall({}, None, None, given_)(observation)
    assert observation.model_parameters == {"temperature": 0.0, "tool_choice": "any"}
    assert observation.model == "gpt-5"


# -- the prompt that was used


def text_prompt(name: str = "greeting", version: int = 3, *, fallback: bool = False) -> TextPromptClient:
    """Return a prompt as the Langfuse SDK gives it."""
    prompt = Prompt_Text(name=name, version=version, prompt="Say {{word}}.", config={}, labels=[], tags=[], type="text")
    return TextPromptClient(prompt, is_fallback=fallback)


def linked(sessions: RecordedSessions) -> list[tuple[Any, Any]]:
    """Return name and version of the prompts that the generations are linked to."""
    return [
        (
            found.attributes.get("langfuse.observation.prompt.name"),
            found.attributes.get("langfuse.observation.prompt.version"),
        )
        for found in sessions.observations
        if found.type == "generation"
    ]


def test_a_template_links_its_models_generation(no_open_runs: RecordedSessions) -> None:
    """As the Langfuse SDK documents it: the prompt client in the template's metadata."""
    template = PromptTemplate.from_template("Say {word}.", metadata={"langfuse_prompt": text_prompt()})
    (template | ScriptedChat("Hm.")).invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("greeting", 3)]
    assert all("langfuse_prompt" not in found.metadata for found in no_open_runs.observations)


def test_a_chat_template_links_nested_models(no_open_runs: RecordedSessions) -> None:
    """A model with fallbacks behind the template: each attempt was made from that prompt."""
    template = ChatPromptTemplate.from_messages([("human", "Say {word}.")])
    template.metadata = {"langfuse_prompt": text_prompt("talk", 2)}
    model = ScriptedChat(ValueError("x")).with_fallbacks([ScriptedChat("Hm.")])
    (template | model).invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("talk", 2), ("talk", 2)]


def test_the_next_template_ends_the_link(no_open_runs: RecordedSessions) -> None:
    """Two templates in a row, of which only the first is Langfuse's: only the first generation is linked."""
    first = PromptTemplate.from_template("Say {word}.", metadata={"langfuse_prompt": text_prompt()})
    second = PromptTemplate.from_template("And {text}.")
    steps = first | ScriptedChat("Hm.") | (lambda message: {"text": message.content}) | second | ScriptedChat("Oh.")
    steps.invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("greeting", 3), (None, None)]


def test_a_prompt_in_the_calls_metadata_links_too(no_open_runs: RecordedSessions) -> None:
    """A bare model, and the prompt client in the metadata of the call."""
    ScriptedChat("Hm.").invoke("x", {"callbacks": [SessionHandler()], "metadata": {"langfuse_prompt": text_prompt()}})
    assert linked(no_open_runs) == [("greeting", 3)]


def test_a_fallback_prompt_is_not_linked(no_open_runs: RecordedSessions) -> None:
    """Langfuse could not be asked and the application's own text served: there is nothing to link to."""
    prompt = text_prompt(fallback=True)
    ScriptedChat("Hm.").invoke("x", {"callbacks": [SessionHandler()], "metadata": {"langfuse_prompt": prompt}})
    assert linked(no_open_runs) == [(None, None)]
