"""Langfuse prompts: which model call is linked to which."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import RemoveMessage
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langfuse.model import Prompt_Text, TextPromptClient
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import ScriptedChat

pytestmark = pytest.mark.langchain


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
    """A prompt client in the template's metadata, as the Langfuse SDK documents it, links the model's generation."""
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


def langfuse_template(*messages: tuple[str, str], name: str = "greeting") -> ChatPromptTemplate:
    """Return a chat template that carries a Langfuse prompt."""
    template = ChatPromptTemplate.from_messages(list(messages))
    template.metadata = {"langfuse_prompt": text_prompt(name, 1)}
    return template


def test_a_later_model_of_the_sequence_is_not_linked(no_open_runs: RecordedSessions) -> None:
    """Of two models behind one template, only the first is given what the template made."""
    template = langfuse_template(("human", "Say {word}."))
    steps = template | ScriptedChat("Hm.") | (lambda message: f"Translate {message.content}") | ScriptedChat("Oh.")
    steps.invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("greeting", 1), (None, None)]


def test_a_model_behind_a_step_that_changes_the_prompt_is_linked(no_open_runs: RecordedSessions) -> None:
    """A step between template and model that rewrites the messages does not cut the link."""
    template = langfuse_template(("system", "Be brief."), ("human", "Say {word}."))
    steps = template | (lambda value: [("human", value.to_string().upper())]) | ScriptedChat("Hm.")
    steps.invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("greeting", 1)]


@pytest.mark.parametrize("streamed", [False, True])
def test_in_a_function_the_model_that_gets_the_messages_is_linked(
    no_open_runs: RecordedSessions, streamed: bool
) -> None:
    """Two templates and three models in one function, in another order: each model has the prompt that it was given."""
    one, two = langfuse_template(("system", "{who}"), name="one"), langfuse_template(("system", "{who}"), name="two")

    def run(model: ScriptedChat, value: Any) -> Any:
        return list(model.stream(value))[-1] if streamed else model.invoke(value)

    def call(text: str) -> str:
        first, second = one.invoke({"who": "a"}), two.invoke({"who": "b"})
        run(ScriptedChat("1"), text)
        run(ScriptedChat("2"), second)
        run(ScriptedChat("3"), [*first.to_messages(), ("human", text)])
        return text

    RunnableLambda(call).invoke("Hello.", {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [(None, None), ("two", 1), ("one", 1)]


@pytest.mark.asyncio
async def test_a_prompt_made_in_another_node_is_linked(no_open_runs: RecordedSessions) -> None:
    """A node makes the messages, the next asks one model with them and another model about its answer."""
    template = langfuse_template(("system", "You are {who}."), ("placeholder", "{messages}"))

    async def prepare(state: MessagesState) -> dict[str, Any]:
        value = await template.ainvoke({"who": "kind", "messages": state["messages"]})
        return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *value.to_messages()]}

    async def ask(state: MessagesState) -> dict[str, Any]:
        answer = await ScriptedChat("Hm.").ainvoke(state["messages"])
        await ScriptedChat("Good.").ainvoke([("human", f"Rate {answer.content}")])
        return {"messages": [answer]}

    graph = StateGraph(MessagesState).add_node(prepare).add_node(ask)
    graph.add_edge(START, "prepare").add_edge("prepare", "ask")
    await graph.compile().ainvoke({"messages": [("human", "Hello.")]}, {"callbacks": [SessionHandler()]})
    assert linked(no_open_runs) == [("greeting", 1), (None, None)]


def test_models_side_by_side_are_given_the_prompt(no_open_runs: RecordedSessions) -> None:
    """Parallel branches behind one template are each linked, and the model that joins them is not."""
    template = langfuse_template(("human", "Say {word}."))
    branches = RunnableParallel(a=ScriptedChat("A"), b=ScriptedChat("B"))
    join = RunnableLambda(lambda both: [("human", both["a"].content + both["b"].content)])
    (template | branches | join | ScriptedChat("AB")).invoke({"word": "hm"}, {"callbacks": [SessionHandler()]})
    assert sorted(linked(no_open_runs), key=str) == [("greeting", 1), ("greeting", 1), (None, None)]
