"""Applications that ask twice, at the same time or in several loops, and files that somebody has edited."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_runs import search
from langfuse_integration.errors import LangfuseIntegrationError, NotRecorded
from langfuse_integration.reading.volatile import VolatileParts
from langfuse_integration.testing import ReplaySession, replay
from langfuse_integration_langchain import SessionHandler
from replay.recordings import divergences, record
from scripted_chat import ScriptedChat, call

pytestmark = pytest.mark.langchain

CONFIG: Any = {"callbacks": [SessionHandler()]}


@tool
def read(title: str) -> str:
    """Read a title."""
    return f"read {title}"


def unplugged() -> ScriptedChat:
    """Return a model that must not be asked."""
    return ScriptedChat(AssertionError("the model was called"))


def echoing() -> ScriptedChat:
    """Return a model that says what it was asked, in capitals."""
    return ScriptedChat(lambda messages: str(messages[-1].content).upper())


def said(model: ScriptedChat, *texts: str) -> list[str]:
    """Ask one after the other; return the answers."""
    return [str(model.invoke(text, CONFIG).content) for text in texts]


# -- twice


@pytest.mark.parametrize(
    ("asked", "answered", "place"),
    [
        ("aabc", "ABBC", "before step 2 (ScriptedChat 2)"),
        ("abbc", "ABCC", "before step 3 (ScriptedChat 3)"),
        ("abcc", "ABC", "after step 3 (ScriptedChat 3)"),
        ("xabc", "AABC", "before step 1 (ScriptedChat 1)"),
    ],
)
def test_a_call_that_is_made_twice_is_named_where_it_is(tmp_path: Path, asked: str, answered: str, place: str) -> None:
    """One sentence names a further call, and the calls after it get their own answers."""
    path = tmp_path / "a.session.json"
    record(lambda: said(echoing(), *"abc"), path)
    answers: list[str] = []

    def run(_: ReplaySession) -> None:
        for text in asked:
            answers.extend(said(unplugged(), text))

    assert [text for _, text in divergences(path, run)] == [f"{place}: a further model call is asked for"]
    assert "".join(answers) == answered


def test_a_tool_that_is_called_twice_is_named(tmp_path: Path) -> None:
    """The call after the last of a tool is a further one, also where another tool comes next."""
    path = tmp_path / "a.session.json"

    def run(*calls: tuple[Any, str]) -> None:
        for called, text in calls:
            called.invoke({next(iter(called.args)): text}, CONFIG)

    recorded = (search, "hay"), (read, "Alpacas")
    record(lambda: run(*recorded), path)
    with replay(path, tools="recorded") as session:
        run(recorded[0])
        with pytest.raises(NotRecorded, match=r"after step 1 \(search 1\): a further search is asked for"):
            run(recorded[0])
        run(recorded[1])
        assert len(session.divergences) == 1
        session.allow("a further search")


def test_a_tool_in_the_place_of_another_may_turn_out_to_be_a_further_one(tmp_path: Path) -> None:
    """Where the expected call comes after all, one sentence says that the other one came before it."""
    path = tmp_path / "a.session.json"
    record(lambda: [search.invoke({"query": "hay"}, CONFIG), read.invoke({"title": "Alpacas"}, CONFIG)], path)
    with replay(path, tools="recorded") as session:
        search.invoke({"query": "hay"}, CONFIG)
        with pytest.raises(NotRecorded, match="search is asked for instead"):
            search.invoke({"query": "straw"}, CONFIG)
        assert read.invoke({"title": "Alpacas"}, CONFIG) == "read Alpacas"
        assert [each.text for each in session.divergences] == [
            "before step 2 (read 1): a further read is asked for",
        ]
        session.allow(2)


# -- at the same time


def herder(model: ScriptedChat) -> Any:
    """Return an agent with one tool."""
    return create_agent(model, [search], name="herder")


async def together(*inputs: Any, live: bool) -> list[str]:
    """Let agents of one name answer at the same time."""

    async def answer(state: Any, number: int) -> str:
        word = f"hay {number}"
        model = ScriptedChat(call("search", {"query": word}), f"{word} it is") if live else unplugged()
        return str((await herder(model).ainvoke(state, CONFIG))["messages"][-1].content)

    return await asyncio.gather(*(answer(state, number) for number, state in enumerate(inputs)))


def test_turns_at_the_same_time_get_their_own_answers(tmp_path: Path) -> None:
    """Agents of one name that run beside each other find the steps of their own turns, in whichever order."""
    path = tmp_path / "a.session.json"
    inputs = [{"messages": [("user", f"question {number}")]} for number in range(3)]
    recorded = record(lambda: asyncio.run(together(*inputs, live=True)), path)
    with replay(path) as session:
        states = [turn.input for turn in session.turns]
        assert asyncio.run(together(*states, live=False)) == recorded
    with replay(path):
        assert asyncio.run(together(*reversed(inputs), live=False)) == recorded[::-1]


def test_loops_one_after_the_other_keep_their_order(tmp_path: Path) -> None:
    """What two event loops ask in turn is compared with the recorded order."""
    path = tmp_path / "a.session.json"

    async def ask(model: ScriptedChat, text: str) -> None:
        await model.ainvoke(text, CONFIG)

    def run(model: Callable[[], ScriptedChat], texts: str) -> None:
        for text in texts:
            asyncio.run(ask(model(), text))

    record(lambda: run(echoing, "ab"), path)
    assert divergences(path, lambda _: run(unplugged, "ab")) == []
    assert divergences(path, lambda _: run(unplugged, "ba")) == [
        (2, "step 2 (ScriptedChat 2) was asked for before step 1 (ScriptedChat 1)")
    ]


def test_the_order_of_calls_at_the_same_time_means_nothing(tmp_path: Path) -> None:
    """Tasks that run beside each other may ask in another order, also where only one of them asks at a time."""
    path = tmp_path / "a.session.json"

    async def ask(model: ScriptedChat, texts: str) -> None:
        one_at_a_time = asyncio.Semaphore(1)

        async def one(text: str) -> None:
            async with one_at_a_time:
                await model.ainvoke(text, CONFIG)

        await asyncio.gather(*map(one, texts))

    record(lambda: asyncio.run(ask(echoing(), "abcd")), path)
    assert divergences(path, lambda _: asyncio.run(ask(unplugged(), "dbca"))) == []


def test_the_order_of_calls_in_threads_of_a_pool_means_nothing(tmp_path: Path) -> None:
    """A thread that works for many makes one call after the other without the application's doing."""
    path = tmp_path / "a.session.json"

    async def ask(model: ScriptedChat, texts: str) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "words"))
        await asyncio.gather(*(asyncio.to_thread(model.invoke, text, CONFIG) for text in texts))

    record(lambda: asyncio.run(ask(echoing(), "abcd")), path)
    assert divergences(path, lambda _: asyncio.run(ask(unplugged(), "dbca"))) == []


# -- long histories


@pytest.mark.parametrize("change", [False, True])
def test_a_long_history_costs_a_step_what_is_new_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bool
) -> None:
    """However long the history is, a step cleans the messages that are new in it, also where an early one differs."""
    path = tmp_path / "a.session.json"
    count = 40
    prompt = "Be short."

    def run(model: ScriptedChat) -> None:
        agent = create_agent(model, [search], system_prompt=prompt, name="herder")
        agent.invoke({"messages": [("user", "What?")]}, {**CONFIG, "recursion_limit": 500})

    record(lambda: run(ScriptedChat(*(call("search", {"query": f"q{n}"}, f"c{n}") for n in range(count)), "So.")), path)
    cleaned: list[int] = []
    original = VolatileParts.key

    def key(self: VolatileParts, value: Any) -> str:
        cleaned[-1] += 1
        return original(self, value)

    answer = ReplaySession.answer

    def answering(self: ReplaySession, question: Any) -> Any:
        cleaned.append(0)
        return answer(self, question)

    monkeypatch.setattr(VolatileParts, "key", key)
    monkeypatch.setattr(ReplaySession, "answer", answering)
    if change:
        prompt = "Be long."
    with replay(path) as session:
        run(unplugged())
        assert len(session.divergences) == change
        session.allow(1)
    thinks = [number for number in cleaned if number]
    assert len(thinks) == count + 1
    assert max(thinks[5:]) <= 4  # an assistant's and a tool's message, each as recorded and as asked


# -- files


def application(model: ScriptedChat) -> Any:
    """Ask a model, call the tool that it asks for, and ask again."""
    question = ("user", "What?")
    for asked in model.invoke([question], CONFIG).tool_calls:
        search.invoke(asked, CONFIG)
    return model.invoke([question, ("user", "So?")], CONFIG).content


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a file, but for those that the application's tool gets."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield (*way, key)
        if key != "args":
            yield from places(item, (*way, key))


def test_a_file_that_was_edited_anywhere_breaks_nothing(tmp_path: Path) -> None:
    """Whatever entry is of another kind: the file or a call is refused with a reason, or the replay goes its way."""
    path = tmp_path / "a.session.json"
    record(lambda: application(ScriptedChat(call("search", {"query": "hay"}), "Hay.")), path)
    values = json.loads(path.read_text())
    refused = 0
    for way in random.Random(3).sample([*places(values)], 100):
        for other in (None, "words", []):
            edited = copy.deepcopy(values)
            holder = edited
            for key in way[:-1]:
                holder = holder[key]
            holder[way[-1]] = other
            path.write_text(json.dumps(edited))
            try:
                with replay(path, tools="recorded") as session:
                    session.allow("")
                    application(unplugged())
            except LangfuseIntegrationError:
                refused += 1
            except Exception as error:  # noqa: BLE001
                if way != ("steps",):  # an empty session needs no seam, so that the model is asked
                    pytest.fail(f"{way} = {other!r}: {type(error).__name__}: {error}")
    assert refused > 50
