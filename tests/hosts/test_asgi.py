"""SessionMiddleware: every request and web socket of a real server has its own session."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import httpx
import pytest
import redis
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from websockets.asyncio.client import connect

from hosts.redis_server import RedisServer
from hosts.serving import serving
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration.internals import faults
from langfuse_integration.sessions.shared_state import active_key_value
from langfuse_integration.testing import RecordedSessions
from web import get

USERS = [f"user-{number}" for number in range(10)]


def record(name: str, expected: str) -> None:
    """Record an observation whose input is the session that it must be in, "nobody" for none."""
    with langfuse_manager.trace_span(name, input=expected) as span:
        span.update(output="done")


def misplaced(sessions: RecordedSessions) -> list[tuple[str, Any, str | None, str | None]]:
    """Return the observations that are not in the session that their input names."""
    return [
        (found.name, found.input, found.session_id, found.user_id)
        for found in sessions.observations
        if (found.session_id or "nobody") != found.input
        or found.user_id != (f"user of {found.session_id}" if found.session_id else None)
    ]


def log_in(user: str) -> str:
    """A dependency that sets the session."""
    langfuse_manager.set_session(user, user_id=f"user of {user}")
    return user


async def log_in_later(user: str) -> str:
    """An async dependency that sets the session."""
    await asyncio.sleep(0.001)
    return log_in(user)


def words(kind: str, user: str) -> Iterator[str]:
    for word in ("one ", "two "):
        record(f"{kind}: body", user)
        yield word


async def words_later(kind: str, user: str) -> AsyncIterator[str]:
    for word in words(kind, user):
        await asyncio.sleep(0.001)
        yield word


async def later(kind: str, user: str) -> None:
    await asyncio.sleep(0.001)
    record(f"{kind}: background", user)


def chat() -> FastAPI:
    """An application that sets the session in every place where an application can, and records in all others."""
    app = FastAPI()
    add_endpoints(app)
    add_dependencies(app)
    add_socket(app)
    return app


def add_endpoints(app: FastAPI) -> None:
    @app.get("/sync")
    def sync(user: str, after: BackgroundTasks) -> StreamingResponse:
        log_in(user)
        record("sync: endpoint", user)
        after.add_task(record, "sync: background", user)
        return StreamingResponse(words("sync", user))

    @app.get("/async")
    async def asynchronous(user: str, after: BackgroundTasks) -> StreamingResponse:
        await log_in_later(user)
        await asyncio.gather(*(asyncio.to_thread(record, "async: thread", user) for _ in range(2)))
        after.add_task(later, "async", user)
        return StreamingResponse(words_later("async", user))

    @app.get("/nobody")
    def nobody() -> None:
        record("nobody: endpoint", "nobody")


def add_dependencies(app: FastAPI) -> None:
    @app.get("/dependency")
    def dependency(user: Annotated[str, Depends(log_in)]) -> StreamingResponse:
        record("dependency: endpoint", user)
        return StreamingResponse(words_later("dependency", user))

    @app.get("/later")
    async def later_dependency(user: Annotated[str, Depends(log_in_later)]) -> dict[str, str]:
        record("later: endpoint", user)
        return {"user": user}

    @app.get("/events")
    async def events(user: Annotated[str, Depends(log_in)]) -> StreamingResponse:
        async def stream() -> AsyncIterator[str]:
            for number in range(3):
                await asyncio.sleep(0.001 * number)
                await asyncio.to_thread(record, "events: thread", user)
                yield f"data: {number}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")


def add_socket(app: FastAPI) -> None:
    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        async for said in socket.iter_text():
            if said.startswith("i am "):
                log_in(said.removeprefix("i am "))
            else:
                if said != "i":
                    await asyncio.to_thread(record, "talk", said)
                    record("talk", said)
            await socket.send_text(langfuse_manager.current_session_id or "nobody")


def test_what_an_endpoint_sets_holds_for_all_of_its_request(sessions: RecordedSessions) -> None:
    """Bodies, background tasks and threads of endpoints of 10 users at once: none wrong, none missing."""
    app = chat()
    app.add_middleware(SessionMiddleware)

    async def visit(client: httpx.AsyncClient, user: str) -> None:
        for path in ("/sync", "/async", "/nobody", "/dependency", "/later", "/events", "/sync"):
            answer = await client.get(path, params={"user": user})
            assert answer.status_code == 200

    async def visits(url: str) -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            await asyncio.gather(*(visit(client, user) for user in USERS))

    with serving(app) as url:
        asyncio.run(visits(url))
    assert misplaced(sessions) == []
    each = {
        "sync: endpoint": 2, "sync: body": 4, "sync: background": 2, "async: thread": 2, "async: body": 2,
        "async: background": 1, "dependency: endpoint": 1, "dependency: body": 2, "later: endpoint": 1,
        "events: thread": 3,
    }  # fmt: skip
    for user in USERS:
        assert Counter(found.name for found in sessions.of(user).observations) == each
    assert {found.name for found in sessions.of(None).observations} == {"nobody: endpoint"}


def test_a_web_socket_keeps_its_session_for_life(sessions: RecordedSessions) -> None:
    """10 web sockets at once: each is who it said it was until it says otherwise, whatever others say meanwhile."""
    app = chat()
    app.add_middleware(SessionMiddleware)

    async def talk(url: str, user: str) -> None:
        async with connect(f"{url.replace('http', 'ws', 1)}/talk", proxy=None) as socket:

            async def say(what: str, expected: str) -> None:
                await socket.send(what)
                assert await socket.recv() == expected

            await say("nobody", "nobody")
            for name in (user, f"{user} again"):
                await say(f"i am {name}", name)
                for _ in range(5):
                    await say(name, name)

    async def talks(url: str) -> None:
        await asyncio.gather(*(talk(url, user) for user in USERS))

    with serving(app) as url:
        asyncio.run(talks(url))
    assert misplaced(sessions) == []
    assert len(sessions.observations) == 10 * 2 * 11


def test_only_declared_sources_are_believed(sessions: RecordedSessions) -> None:
    """A header, cookie or baggage that names another user's session changes nothing, unless it was declared."""
    headers = {
        "x-session-id": "stolen",
        "cookie": "chat=stolen; other=x",
        "baggage": "session.id=stolen,user.id=somebody,langfuse_session_id=stolen",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    app = chat()
    app.add_middleware(SessionMiddleware)
    with serving(app) as url:
        assert get(f"{url}/nobody", headers=headers).status_code == 200
    assert misplaced(sessions) == []
    assert [found.session_id for found in sessions.observations] == [None]


async def _user(scope: Any) -> str | None:
    await asyncio.sleep(0)
    return str(dict(scope["headers"]).get(b"x-user", b"").decode()) or None


@pytest.mark.parametrize(
    ("options", "headers", "expected"),
    [
        ({"header": "X-Session-Id"}, {"x-session-id": "a"}, ("a", None)),
        ({"header": "x-session-id"}, {}, (None, None)),
        ({"cookie": "chat"}, {"cookie": 'other=1; chat="a b"; x=y'}, ("a b", None)),
        ({"cookie": "chat"}, {"cookie": "chatter=1; chat"}, (None, None)),
        ({"baggage": True}, {"baggage": "session.id=a%20b,user.id=u"}, ("a b", "u")),
        ({"baggage": True}, {"baggage": "langfuse_session_id=a"}, ("a", None)),
        ({"baggage": True}, {"baggage": ";;=,"}, (None, None)),
        ({"session": lambda scope: scope["path"]}, {"x-session-id": "b"}, ("/me", None)),
        ({"user": _user}, {"x-user": "u"}, (None, "u")),
        ({"cookie": "c", "header": "h", "user": lambda _: "u"}, {"cookie": "c=1", "h": "2"}, ("2", "u")),
        ({"cookie": "c", "baggage": True}, {"cookie": "c=1", "baggage": "session.id=2,user.id=u"}, ("1", "u")),
        ({"header": "h", "baggage": True}, {"h": "", "baggage": "session.id=2"}, ("2", None)),
        ({"header": "h", "user": _user}, {"h": "x" * 201, "x-user": "u"}, (None, "u")),
        ({"header": "h", "user": lambda _: "é\n"}, {"h": "s"}, ("s", "é")),
    ],
)
def test_the_declared_sources_say_who_it_is(
    options: dict[str, Any], headers: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    """Session and user come from what was declared, in the order of the arguments; what cannot be used is left out."""
    app = FastAPI()

    @app.get("/me")
    def me() -> list[str | None]:
        return [langfuse_manager.current_session_id, langfuse_manager.current_user_id]

    app.add_middleware(SessionMiddleware, **options)
    with serving(app) as url:
        assert tuple(get(f"{url}/me", headers=headers).json()) == expected


def test_a_browser_gets_a_session_of_its_own() -> None:
    """With a cookie to keep it, who brings no session is issued one, and brings it from then on."""
    app = FastAPI()

    @app.get("/me")
    def me() -> str | None:
        return langfuse_manager.current_session_id

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(str(langfuse_manager.current_session_id))

    app.add_middleware(SessionMiddleware, cookie="chat", issue="chat")

    async def talked(url: str, cookie: str | None = None) -> tuple[str, str | None]:
        headers = {"cookie": cookie} if cookie else {}
        address = f"{url.replace('http', 'ws', 1)}/talk"
        async with connect(address, additional_headers=headers, proxy=None) as socket:
            assert socket.response is not None
            return str(await socket.recv()), socket.response.headers.get("set-cookie")

    with serving(app) as url, httpx.Client(base_url=url) as one, httpx.Client(base_url=url) as other:
        first = one.get("/me")
        mine = first.json()
        assert mine.startswith("chat-")
        assert len(mine) == len("chat-") + 32
        assert first.headers["set-cookie"] == f"chat={mine}; Path=/; HttpOnly; SameSite=Lax"
        again = one.get("/me")
        assert (again.json(), again.headers.get("set-cookie")) == (mine, None)
        assert other.get("/me").json() != mine
        assert asyncio.run(talked(url, f"chat={mine}")) == (mine, None)
        own, cookie = asyncio.run(talked(url))
        assert own != mine
        assert cookie == f"chat={own}; Path=/; HttpOnly; SameSite=Lax"


def test_every_web_socket_can_have_a_session_of_its_own() -> None:
    """Without a cookie an issued session is that of one web socket; plain requests have none."""
    app = chat()
    app.add_middleware(SessionMiddleware, issue="talk")

    async def own(url: str) -> str:
        async with connect(f"{url.replace('http', 'ws', 1)}/talk", proxy=None) as socket:
            said = []
            for _ in range(3):
                await socket.send("anything")
                said.append(str(await socket.recv()))
            assert len(set(said)) == 1
            return said[0]

    with serving(app) as url:
        first, second = asyncio.run(own(url)), asyncio.run(own(url))
        assert get(f"{url}/nobody").headers.get("set-cookie") is None
    assert first != second
    assert first.startswith("talk-")


def test_two_middlewares_are_one() -> None:
    """Added twice, they share the request's cell; the inner one adds what it was declared."""
    app = FastAPI()

    @app.get("/me")
    def me() -> list[str | None]:
        return [langfuse_manager.current_session_id, langfuse_manager.current_user_id]

    app.add_middleware(SessionMiddleware, user=lambda _: "u", issue="never", cookie="chat")
    app.add_middleware(SessionMiddleware, header="h")
    outside: Any = SessionMiddleware(app, user=lambda _: "outer")
    with serving(outside) as url:
        answers = [get(f"{url}/me", headers={"h": "s"}), get(f"{url}/me", headers={"cookie": "chat=c"})]
    assert [(answer.json(), answer.headers.get("set-cookie")) for answer in answers] == [
        (["s", "u"], None), (["c", "u"], None)
    ]  # fmt: skip


def test_a_conversation_goes_on_where_it_was(sessions: RecordedSessions) -> None:
    """What was set in one request of a log-in holds in the next one, until it is cleared; a stranger has none of it."""
    app = chat()

    @app.get("/log-out")
    def log_out() -> None:
        langfuse_manager.clear_session()

    @app.get("/work")
    def work(user: str) -> None:
        record("work", user)

    def login_of(scope: Any) -> str | None:
        return dict(scope["headers"]).get(b"authorization", b"").decode() or None

    app.add_middleware(SessionMiddleware, conversation=login_of)
    alice, bob = {"authorization": "token-a"}, {"authorization": "token-b"}
    with serving(app) as url, httpx.Client(base_url=url) as client:

        def get(path: str, user: str, headers: dict[str, str] | None = None) -> None:
            assert client.get(path, params={"user": user}, headers=headers).status_code == 200

        get("/work", "nobody", alice)
        get("/sync", "alice", alice)
        get("/later", "bob", bob)
        for _ in range(3):
            get("/work", "alice", alice)
            get("/work", "bob", bob)
            get("/work", "nobody")
        get("/log-out", "", alice)
        get("/work", "nobody", alice)
        get("/work", "bob", bob)
    assert misplaced(sessions) == []
    assert len(sessions.of("bob").observations) == 5


def test_a_conversation_is_known_by_a_cookie(sessions: RecordedSessions) -> None:
    """A browser gets the conversation's cookie when its session is first set, and has that session from then on."""
    app = chat()
    app.add_middleware(SessionMiddleware, conversation="talk")
    with serving(app) as url, httpx.Client(base_url=url) as one, httpx.Client(base_url=url) as other:
        assert "set-cookie" not in one.get("/nobody").headers
        cookie = one.get("/later", params={"user": "alice"}).headers["set-cookie"]
        assert re.fullmatch(r"talk=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax", cookie)
        other.get("/later", params={"user": "bob"})
        assert "set-cookie" not in one.get("/sync", params={"user": "carol"}).headers
        assert other.cookies["talk"] != one.cookies["talk"]
        whose = [asyncio.run(_whose(url, f"talk={client.cookies['talk']}")) for client in (one, other)]
        assert asyncio.run(_whose(url, "talk=made-up")) == "nobody"
    assert whose == ["carol", "bob"]
    assert misplaced(sessions) == []


async def _whose(url: str, cookie: str) -> str:
    """Return the session that a web socket with *cookie* has."""
    address = f"{url.replace('http', 'ws', 1)}/talk"
    async with connect(address, additional_headers={"cookie": cookie}, proxy=None) as socket:
        await socket.send("i")
        return str(await socket.recv())


@pytest.mark.redis
def test_a_cookie_goes_out_when_every_worker_can_know_its_session(redis_server: RedisServer) -> None:
    """The answer that begins a conversation waits until the store has it, and goes out too if that never answers."""
    configure(store=redis_server.url)
    known: list[Any] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        langfuse_manager.set_session("alice")
        await send({"type": "http.response.start", "status": 200})

    async def begin() -> list[tuple[bytes, bytes]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            known.append(None if frozen else client.dbsize())

        app = SessionMiddleware(inside, conversation="talk")
        await app({"type": "http", "headers": []}, None, send)  # type: ignore[arg-type]
        return list(sent[0]["headers"])

    frozen = False
    with redis.Redis.from_url(redis_server.url) as client:
        for _ in range(20):
            asyncio.run(begin())
        assert known == list(range(1, 21))
        redis_server.freeze()
        frozen = True
        try:
            [(name, value)] = asyncio.run(begin())
        finally:
            redis_server.thaw()
    assert (name, value[:5]) == (b"set-cookie", b"talk=")
    active_key_value().close(5)


def test_a_request_made_in_process_is_a_visit_of_its_own(sessions: RecordedSessions) -> None:
    """An application that is called from inside of a session does not see it, and leaves it as it was."""
    app = chat()
    app.add_middleware(SessionMiddleware)

    async def call() -> None:
        langfuse_manager.set_session("caller", user_id="user of caller")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inside") as client:
            await client.get("/nobody")
            await client.get("/later", params={"user": "called"})
        record("after", "caller")

    asyncio.run(call())
    assert misplaced(sessions) == []
    assert [found.session_id for found in sessions.observations] == [None, "called", "caller"]


def test_a_source_that_fails_costs_nobody_his_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user function that raises is logged once, and its requests are answered, untagged."""
    monkeypatch.setattr(faults, "strict", False)
    app = FastAPI()

    @app.get("/me")
    def me() -> str | None:
        return langfuse_manager.current_session_id

    def broken(scope: Any) -> str:
        raise KeyError("user")

    app.add_middleware(SessionMiddleware, header="h", user=broken)
    with caplog.at_level(logging.WARNING, "langfuse_integration"), serving(app) as url:
        assert [get(f"{url}/me", headers={"h": "s"}).json() for _ in range(3)] == [None] * 3
    assert [entry.message for entry in caplog.records] == [
        "langfuse-integration failed while finding out a request's session; tracing only is affected"
    ]


def test_ids_that_clients_make_up_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """An id that Langfuse could not group by is left out with one warning, however often it comes."""
    app = chat()
    app.add_middleware(SessionMiddleware, header="h")
    with caplog.at_level(logging.WARNING, "langfuse_integration"), serving(app) as url:
        for _ in range(3):
            assert get(f"{url}/nobody", headers={"h": "x" * 300}).status_code == 200
    [entry] = caplog.records
    assert "has 300 characters" in entry.message
