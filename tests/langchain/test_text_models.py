"""Models that take text: recorded the same sync and async, and other handlers miss nothing because of ours."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import FakeListLLM, FakeStreamingListLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_runs import gathered
from langfuse_integration.testing import RecordedSessions
from langfuse_integration_langchain import SessionHandler
from scripted_chat import Hold

pytestmark = [pytest.mark.langchain, pytest.mark.usefixtures("in_alices_session")]


class Listener(BaseCallbackHandler):
    """A handler of the application."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_llm_start(self, serialized: Any, prompts: list[str], **options: Any) -> None:
        self.heard += [f"start {prompt}" for prompt in prompts]

    def on_llm_new_token(self, token: str, **options: Any) -> None:
        self.heard.append("token")

    def on_llm_end(self, response: Any, **options: Any) -> None:
        self.heard.append("end")


class AsyncListener(AsyncCallbackHandler):
    """An async handler of the application."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_llm_start(self, serialized: Any, prompts: list[str], **options: Any) -> None:
        await asyncio.sleep(0)
        self.heard += [f"start {prompt}" for prompt in prompts]

    async def on_llm_end(self, response: Any, **options: Any) -> None:
        self.heard.append("end")


def model() -> FakeListLLM:
    return FakeListLLM(responses=["Hay."])


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda config: model().invoke("a", config),
    "ainvoke": lambda config: asyncio.run(model().ainvoke("a", config)),
    "agenerate": lambda config: asyncio.run(model().agenerate(["a", "b"], callbacks=config["callbacks"])),
    "abatch": lambda config: asyncio.run(model().abatch(["a", "b"], config)),
    "astream": lambda config: asyncio.run(gathered(FakeStreamingListLLM(responses=["Hay."]).astream("a", config))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2], ids=["once", "twice in the list"])
def test_a_text_model_is_recorded_with_its_answer(sessions: RecordedSessions, way: str, count: int) -> None:
    """One generation for each prompt, with prompt and answer, and none is cancelled."""
    WAYS[way]({"callbacks": [SessionHandler()] * count})
    prompts = ["a", "b"] if way in ("agenerate", "abatch") else ["a"]
    rows = sessions.observations
    assert sorted((row.label, row.input, row.output, row.level, row.status_message) for row in rows) == [
        (f"generation {'FakeStreamingListLLM' if way == 'astream' else 'FakeListLLM'}", prompt, "Hay.", "DEFAULT", None)
        for prompt in prompts
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["before ours", "behind ours", "between two of ours"])
@pytest.mark.parametrize("kind", [Listener, AsyncListener])
def test_other_handlers_hear_each_start_once(sessions: RecordedSessions, way: str, place: str, kind: Any) -> None:
    """A sync and an async handler of the application get the start of every prompt, before its end."""
    listener, ours = kind(), SessionHandler()
    config = {
        "before ours": [listener, ours],
        "behind ours": [ours, listener],
        "between two of ours": [ours, listener, SessionHandler(user_id="alice")],
    }[place]
    WAYS[way]({"callbacks": config})
    heard = [event for event in listener.heard if event != "token"]
    prompts = ["a", "b"] if way in ("agenerate", "abatch") else ["a"]
    assert sorted(heard) == sorted([*(f"start {prompt}" for prompt in prompts), *("end" for _ in prompts)])
    assert heard[0].startswith("start")


def test_what_langchain_builds_on_handlers_works(sessions: RecordedSessions) -> None:
    """A run collector keeps the async run, and `astream_events` has the model's events."""
    collector = RunCollectorCallbackHandler()
    asyncio.run(model().ainvoke("a", {"callbacks": [SessionHandler(), collector]}))
    assert [run.name for run in collector.traced_runs] == ["FakeListLLM"]
    chain = PromptTemplate.from_template("{q}") | model()
    events = asyncio.run(gathered(chain.astream_events({"q": "a"}, {"callbacks": [SessionHandler()]}, version="v2")))
    assert [event["event"] for event in events if "llm" in event["event"]] == ["on_llm_start", "on_llm_end"]


class Slow(FakeListLLM):
    """A model that stops at a hold."""

    hold: Any

    async def _acall(self, *arguments: Any, **options: Any) -> str:
        await self.hold.wait_async()
        return "late"


def test_a_cancelled_async_call_is_cancelled(sessions: RecordedSessions) -> None:
    """The task that called the model is cancelled: one generation without an answer, and no open run."""

    hold = Hold()
    model = Slow(responses=["late"], hold=hold)

    async def main() -> None:
        running = asyncio.ensure_future(model.ainvoke("a", {"callbacks": [SessionHandler()]}))
        await hold.until_reached()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    gc.collect()
    (row,) = sessions.observations
    assert (row.label, row.output, row.level, row.status_message) == ("generation Slow", None, "DEFAULT", "cancelled")
