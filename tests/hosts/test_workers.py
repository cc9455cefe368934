"""200 people talk to the FastAPI example at once, in four workers that share one Redis."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import redis

from hosts.redis_server import RedisServer
from hosts.serving import Uvicorn
from langfuse_integration.sessions.shared_state.shared_map import stored_key
from peers.otlp import Receiver, Span
from peers.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.langchain, pytest.mark.mcp, pytest.mark.timeout(600)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_chat"
PEOPLE = [f"user-{number}" for number in range(200)]
WORKERS = 4
QUESTIONS = ("Would a llama guard my sheep against dogs?", "What is a session?")
ROWS = 6 * len(QUESTIONS)
"""An agent, three thinks and two acts for each answer."""


@dataclass(slots=True)
class Talk:
    """What one person was told: the session that was begun, and the one that the server knew at each answer's end."""

    session: str
    cookies: httpx.Cookies
    ends: list[str | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chat:
    """The example in four workers, the Redis that they share, and where their observations go."""

    url: str
    redis: RedisServer
    receiver: Receiver


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    """A chat shared by all tests, because four workers take long to start."""
    with Receiver() as receiver, RedisServer() as redis_server:
        environment = {
            **receiver.environment(),
            "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path_factory.mktemp("chat") / "app.sqlite3"),
            "LANGFUSE_INTEGRATION_STORE": redis_server.url,
            "LANGFUSE_INTEGRATION_EXIT_TIMEOUT_S": "20",
        }
        with Uvicorn("app:app", environment, workers=WORKERS, where=EXAMPLE) as server:
            yield Chat(server.url, redis_server, receiver)


@pytest.fixture
def chat(started: Chat) -> Chat:
    """The shared chat, with nothing received yet."""
    started.receiver.clear()
    return started


async def talk(url: str, user: str, before: Talk | None, answered: Callable[[], None]) -> Talk:
    """Log in, or be who was logged in *before*, and ask.

    Every request has a connection of its own, and so meets any of the workers.
    """
    transport = httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
    async with httpx.AsyncClient(base_url=url, timeout=300, transport=transport) as client:
        if before is None:
            begun = await client.post("/login", json={"user": user})
            assert begun.status_code == 200
            told = Talk(begun.json()["session"], client.cookies)
        else:
            client.cookies = before.cookies
            told = Talk(before.session, before.cookies)
        for question in QUESTIONS:
            events: list[str] = []
            async with client.stream("POST", "/chat", json={"text": question}) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    kind, _, data = line.partition(": ")
                    if kind == "event":
                        events.append(data)
                    elif kind == "data" and events[-1] == "end":
                        told.ends.append(json.loads(data))
            assert events[:2] == ["tool", "tool"], f"{user} got no answer"
            assert events.count("word") > 5, f"{user} got no answer"
            answered()
    return told


def talks(url: str, people: Mapping[str, Talk | None], answered: Callable[[], None] = lambda: None) -> dict[str, Talk]:
    """Let everybody talk at the same time, and return what each was told."""

    async def all_of_them() -> list[Talk]:
        return await asyncio.gather(*(talk(url, user, before, answered) for user, before in people.items()))

    return dict(zip(people, asyncio.run(all_of_them()), strict=True))


def wrong(spans: list[Span], told: Mapping[str, Talk]) -> list[tuple[str | None, str | None]]:
    """Return session and user of the rows that are in a session which is not that of their user."""
    users: dict[str | None, str | None] = {each.session: user for user, each in told.items()}
    users[None] = None
    found = [(span.session_id, span.user_id) for span in spans]
    return [(session, user) for session, user in found if users.get(session, "nobody") != user]


def assert_all_known(receiver: Receiver, told: Mapping[str, Talk]) -> None:
    """No row is in a wrong session, none is missing, and each answer's end was still in its session."""
    spans = receiver.wait_for(len(told) * ROWS, 120)
    assert wrong(spans, told) == []
    assert Counter(span.session_id for span in spans) == {each.session: ROWS for each in told.values()}
    assert all(each.ends == [each.session] * len(QUESTIONS) for each in told.values())
    assert receiver.doubled() == {}


def test_four_workers_know_everybodys_session(chat: Chat) -> None:
    """No row of 200 people with streamed answers from four workers is missing or in a wrong session."""
    told = talks(chat.url, dict.fromkeys(PEOPLE))
    assert len({each.session for each in told.values()}) == len(PEOPLE)
    assert_all_known(chat.receiver, told)


def test_redis_killed_and_started_again_costs_nobody_an_answer(chat: Chat) -> None:
    """With Redis gone for a while every request is answered and no row in a wrong session; once it is back, each worker
    knows all who logged in before, though Redis had forgotten them."""
    answers = 0

    def answered() -> None:
        nonlocal answers
        answers += 1
        if answers == len(PEOPLE) // 4:
            chat.redis.kill()
        elif answers == len(PEOPLE):
            chat.redis.start()

    told = talks(chat.url, dict.fromkeys(PEOPLE), answered)
    assert answers == len(PEOPLE) * len(QUESTIONS)
    spans = chat.receiver.wait_for(len(PEOPLE) * ROWS, 120)
    assert len(spans) == len(PEOPLE) * ROWS
    assert wrong(spans, told) == []
    assert all(end in (each.session, None) for each in told.values() for end in each.ends)
    unknown = sum(end is None for each in told.values() for end in each.ends)
    assert sum(span.session_id is None for span in spans) == unknown * ROWS // len(QUESTIONS)
    print(f"{unknown} of {answers} answers came from a worker that did not know the session while Redis was gone")

    begun = {stored_key("conversation", each.cookies["login"]) for each in told.values()}
    with redis.Redis.from_url(chat.redis.url) as client:
        until(
            lambda: begun <= {key.decode().split(":", 3)[3] for key in client.scan_iter()}, 30, "what each worker knows"
        )
    chat.receiver.clear()
    assert_all_known(chat.receiver, talks(chat.url, {user: told[user] for user in PEOPLE[::4]}))
