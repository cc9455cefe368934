"""Generators whose steps run in other contexts, as web frameworks run them: their blocks hold for every step."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.wsgi import SessionMiddleware
from langfuse_integration.recording import span_scope
from langfuse_integration.sessions import blocks
from langfuse_integration.testing import RecordedSessions


def elsewhere(function: Any, *arguments: Any) -> Any:
    """Call *function* in a fresh context, as a server does that knows nothing of the caller."""
    return contextvars.Context().run(function, *arguments)


def work(name: str) -> None:
    with langfuse_manager.trace_span(name):
        pass


def chat(session: str, user: str) -> Iterator[str]:
    with langfuse_manager.session(session, user), langfuse_manager.trace_span(f"turn of {user}"):
        for number in range(3):
            work(f"{number} of {user}")
            yield f"{number}"


def placed(sessions: RecordedSessions) -> dict[str, tuple[str | None, str | None]]:
    """Session and parent's name of each row, by its name; a name that stands twice is a fault."""
    names = {row.id: row.name for row in sessions.observations}
    rows = {row.name: (row.session_id, names.get(row.parent_id or "")) for row in sessions.observations}
    assert len(rows) == len(sessions.observations)
    return rows


def test_each_step_is_in_the_session_and_the_span_of_its_generator(sessions: RecordedSessions) -> None:
    """Two users' generators whose steps alternate, each in a fresh context, do not mix and lose nothing."""
    ann, bob = chat("s-ann", "ann"), chat("s-bob", "bob")
    for _ in range(4):
        for steps in (ann, bob):
            elsewhere(next, steps, None)
        assert langfuse_manager.current_session is None
    expected: dict[str, Any] = {}
    for user in ("ann", "bob"):
        expected[f"turn of {user}"] = (f"s-{user}", None)
        expected |= {f"{number} of {user}": (f"s-{user}", f"turn of {user}") for number in range(3)}
    assert placed(sessions) == expected
    assert not blocks.open_generators
    assert not span_scope._generators.by_frame


def test_asynchronous_steps_in_tasks_of_their_own(sessions: RecordedSessions) -> None:
    """An async generator with `async with` blocks keeps them, though a task of its own asks for each step."""

    async def chat() -> AsyncIterator[int]:
        async with langfuse_manager.session("s-1"), langfuse_manager.trace_span("turn"):
            for number in range(3):
                await asyncio.sleep(0)
                work(f"step {number}")
                yield number

    async def main() -> None:
        steps = chat()
        for _ in range(3):
            await asyncio.create_task(anext(steps), context=contextvars.Context())  # type: ignore[arg-type]
            assert langfuse_manager.current_session is None
        await steps.aclose()

    asyncio.run(main())
    assert placed(sessions) == {
        "turn": ("s-1", None),
        **{f"step {number}": ("s-1", "turn") for number in range(3)},
    }
    assert not blocks.open_generators


def test_what_is_set_inside_of_the_block_takes_precedence(sessions: RecordedSessions) -> None:
    """A block within a later step counts within it, and what `set_session` says in a step holds in the next ones."""

    def steps() -> Iterator[None]:
        with langfuse_manager.session("s-outer"):
            yield
            with langfuse_manager.session("s-inner"):
                work("inner")
                with langfuse_manager.detached():
                    work("nobody's")
            work("outer")
            langfuse_manager.set_session("s-set")
            work("set")
            yield
            work("still set")
        work("after")

    generator = steps()
    for _ in range(3):
        elsewhere(next, generator, None)
    assert {name: session for name, (session, _) in placed(sessions).items()} == {
        "inner": "s-inner",
        "nobody's": None,
        "outer": "s-outer",
        "set": "s-set",
        "still set": "s-set",
        "after": None,
    }


def test_a_task_that_runs_while_a_generator_waits_is_not_in_its_session() -> None:
    """A loop that a generator's step runs does not give the step's session to tasks of other contexts."""
    seen: list[str | None] = []

    async def somebody_s() -> None:
        seen.append(langfuse_manager.current_session_id)

    def steps(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        with langfuse_manager.session("s-1"):
            yield
            loop.run_until_complete(asyncio.sleep(0))
            yield

    loop = asyncio.new_event_loop()
    generator = steps(loop)
    elsewhere(next, generator)
    task = elsewhere(loop.create_task, somebody_s())
    elsewhere(next, generator)
    loop.run_until_complete(task)
    loop.close()
    generator.close()
    assert seen == [None]


def test_a_request_within_a_step_is_its_own() -> None:
    """An application that a step calls in the same process does not see the step's session."""
    seen: list[str | None] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(langfuse_manager.current_session_id)
        start_response("200 OK", [])
        return [b""]

    def steps() -> Iterator[None]:
        with langfuse_manager.session("s-1"):
            yield
            Client(SessionMiddleware(application)).get("/")
            seen.append(langfuse_manager.current_session_id)
            yield

    generator = steps()
    for _ in range(2):
        elsewhere(next, generator)
    generator.close()
    assert seen == [None, "s-1"]


def test_an_abandoned_generator_is_forgotten() -> None:
    """A generator that nobody closes leaves nothing behind when it is collected."""
    steps = chat("s-1", "ann")
    elsewhere(next, steps)
    assert len(blocks.open_generators) == 1
    del steps
    assert not blocks.open_generators
    assert not span_scope._generators.by_frame


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_streamed_answer_of_starlette(sessions: RecordedSessions, kind: str) -> None:
    """A StreamingResponse of a plain or an async generator is one turn in one session, without any middleware."""

    async def chat_async() -> AsyncIterator[str]:
        with langfuse_manager.session("s-1"), langfuse_manager.trace_span("turn of ann"):
            for number in range(3):
                work(f"{number} of ann")
                yield "x"

    async def answer(request: Any) -> StreamingResponse:
        return StreamingResponse(chat("s-1", "ann") if kind == "sync" else chat_async())

    TestClient(Starlette(routes=[Route("/", answer)])).get("/")
    assert placed(sessions) == {
        "turn of ann": ("s-1", None),
        **{f"{number} of ann": ("s-1", "turn of ann") for number in range(3)},
    }


def test_a_fixture_holds_its_session_for_the_test_only(sessions: RecordedSessions) -> None:
    """A suspended generator, such as a context manager's, is not around what runs while it waits."""

    @asynccontextmanager
    async def tab(name: str) -> AsyncIterator[None]:
        with langfuse_manager.session(name):
            yield

    async def main() -> None:
        async with tab("s-1"):
            assert langfuse_manager.current_session_id == "s-1"
            await asyncio.create_task(other(), context=contextvars.Context())
        assert langfuse_manager.current_session is None

    async def other() -> None:
        assert langfuse_manager.current_session is None

    asyncio.run(main())


async def answer(started: list[asyncio.Task[str | None]]) -> AsyncGenerator[str]:
    """Set a session around each step, and start a task that lives on."""
    async with langfuse_manager.session("s-generator"):
        while True:
            started.append(asyncio.create_task(session_later()))
            yield "word"


async def session_later() -> str | None:
    """The session of a task after a while."""
    await asyncio.sleep(0.05)
    return langfuse_manager.current_session_id


async def broken_off(steps: AsyncGenerator[str]) -> None:
    """Read one step: the loop closes the generator in a task of its own."""
    async for _ in steps:
        break


async def closed_by_another_task(steps: AsyncGenerator[str]) -> None:
    """Read one step, and have it closed by a task."""
    await anext(steps)
    await asyncio.create_task(closing(steps))


async def closing(steps: AsyncGenerator[str]) -> None:
    """Close a generator."""
    await steps.aclose()


@pytest.mark.parametrize("own", [None, "s-own"])
@pytest.mark.parametrize("read", [broken_off, closed_by_another_task])
def test_a_generator_that_is_closed_elsewhere_leaves_no_session(read: Any, own: str | None) -> None:
    """Its reader has the session of before again, or the one that it set meanwhile; tasks of a step keep theirs."""

    async def reads() -> None:
        langfuse_manager.set_session("s-reader")
        started: list[asyncio.Task[str | None]] = []
        await read(answer(started))
        if own is not None:
            langfuse_manager.set_session(own)
        await asyncio.sleep(0.01)
        assert langfuse_manager.current_session_id == (own or "s-reader")
        assert await asyncio.create_task(session_later()) == (own or "s-reader")
        assert await asyncio.to_thread(lambda: langfuse_manager.current_session_id) == (own or "s-reader")
        assert [await task for task in started] == ["s-generator"]

    asyncio.run(reads())


def test_a_generator_that_is_collected_in_another_thread_leaves_no_session() -> None:
    """The collector runs in whichever thread makes objects, our own among them."""
    closed = threading.Event()

    def steps(itself: list[Any]) -> Iterator[None]:
        try:
            with langfuse_manager.session("s-generator"):
                yield
        finally:
            closed.set()

    def abandon() -> None:
        itself: list[Any] = []
        itself.append(steps(itself))
        next(itself[0])

    gc.disable()
    try:
        with langfuse_manager.session("s-reader"):
            abandon()
            while not closed.is_set():  # a collection of another thread may keep this one waiting
                collector = threading.Thread(target=gc.collect)
                collector.start()
                collector.join()
            assert langfuse_manager.current_session_id == "s-reader"
        assert langfuse_manager.current_session_id is None
    finally:
        gc.enable()
