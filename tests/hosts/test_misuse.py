"""Advice: what goes wrong with sessions is said once per line, with the line and the cure, and nothing else is said."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import flask
import pytest
from fastapi import Depends, FastAPI
from werkzeug.test import Client, create_environ

from hosts.serving import serving
from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.asgi import SessionMiddleware
from langfuse_integration.hosts.wsgi import SessionMiddleware as WsgiSessionMiddleware
from langfuse_integration.recording import tracing
from langfuse_integration.sessions.cells import Cell
from langfuse_integration.testing import RecordedSessions
from web import get

Messages = Callable[[], list[str]]


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, sessions: RecordedSessions) -> Iterator[Messages]:
    """Return what has been said so far, in a process that had seen nothing before."""
    tracing.misuse.forget()
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        yield lambda: list(caplog.messages)
    tracing.misuse.forget()


def record(name: str = "work") -> None:
    """Record something, in whatever session there is."""
    with langfuse_manager.trace_span(name):
        pass


def in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Run *work* in a bare thread, and wait for it."""
    thread = threading.Thread(target=work, args=arguments, name="bare")
    thread.start()
    thread.join(60)


def set_it() -> None:
    """Set a session, and end: as a thread of its own, or as a sync dependency, which runs in a copied context."""
    langfuse_manager.set_session("lost", user_id="u")


def test_what_is_recorded_too_early_is_named(messages: Messages) -> None:
    """An observation before the first set_session is told of once that comes, with both lines."""
    for _ in range(3):
        record("warm-up")
    with langfuse_manager.trace_span("other"):
        pass
    assert messages() == []
    for _ in range(2):
        langfuse_manager.set_session("s")
        record()
    [early, other] = messages()
    assert early.startswith("'warm-up' (tests/hosts/test_misuse.py:")
    assert other.startswith("'other' (tests/hosts/test_misuse.py:")
    assert "was recorded before the session was set (tests/hosts/test_misuse.py:" in early
    assert early.endswith("so it is in no session: set the session first")


def test_a_visit_that_sets_its_session_late_is_named_once(messages: Messages) -> None:
    """In a request or tab the order counts for itself, also when others have set theirs long ago."""
    langfuse_manager.set_session("long ago")
    for number in range(3):
        with tracing.store.visiting(Cell.hosted()):
            record("too early")
            langfuse_manager.set_session(f"visit-{number}")
            record("in time")
        with tracing.store.visiting(Cell.hosted()):
            record("of nobody")
    [message] = messages()
    assert message.startswith("'too early' (tests/hosts/test_misuse.py:")


@pytest.mark.skipif(getattr(sys.flags, "thread_inherit_context", False), reason="a thread is in its starter's session")
def test_a_bare_thread_is_named_with_its_cure(messages: Messages) -> None:
    """Work in a plain thread that sees no session gets the line and how to start the thread instead."""
    langfuse_manager.set_session("s")
    for _ in range(3):
        in_thread(record)
    in_thread(langfuse_manager.bind(record))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(langfuse_manager.bind(record)).result(10)
        pool.submit(contextvars.copy_context().run, record).result(10)
    [message] = messages()
    assert message.startswith("'work' (tests/hosts/test_misuse.py:")
    assert "is recorded without a session in thread 'bare'" in message
    assert "langfuse_manager.bind(function)" in message
    assert "instrument_threads()" in message


def test_a_session_that_was_set_in_vain_is_named(messages: Messages) -> None:
    """A thread that only sets a session and ends leaves what follows untagged: the line that set it is named."""
    in_thread(set_it)
    gc.collect()
    for _ in range(2):
        record()
    message = next(message for message in messages() if "'lost'" in message)
    assert message.startswith("session 'lost', set at ")
    assert "has ended with nothing recorded in it, and now 'work' (tests/hosts/test_misuse.py:" in message
    assert sum("'lost'" in message for message in messages()) == 1


def endpoint(app: FastAPI) -> FastAPI:
    """Add an endpoint that records, after a sync dependency that sets the session."""

    @app.get("/work", dependencies=[Depends(set_it)])
    async def work() -> None:
        gc.collect()
        record("endpoint")

    return app


def test_a_sync_dependency_without_the_middleware_is_named(messages: Messages) -> None:
    """What a sync dependency sets is gone in the endpoint: the warning names its line, and the middleware."""
    with serving(endpoint(FastAPI())) as url:
        for _ in range(3):
            assert get(f"{url}/work").status_code == 200
    [message] = [message for message in messages() if "'lost'" in message]
    assert "tests/hosts/test_misuse.py:" in message
    assert "SessionMiddleware" in message


def test_with_the_middleware_nothing_is_said(messages: Messages) -> None:
    """An application with the middleware logs no advice."""
    app = endpoint(FastAPI())
    app.add_middleware(SessionMiddleware)
    with serving(app) as url:
        for _ in range(3):
            assert get(f"{url}/work").status_code == 200
    assert messages() == []


def test_what_is_meant_gets_no_advice(messages: Messages) -> None:
    """Cleared, detached, bound and tasks' own sessions, and a process that never sets any, are left alone."""
    langfuse_manager.set_session("s")
    record()

    async def own(name: str) -> None:
        langfuse_manager.set_session(name)
        await asyncio.sleep(0)
        record()

    async def tasks() -> None:
        await asyncio.gather(*(own(f"s-{number}") for number in range(3)))
        await asyncio.to_thread(record)

    asyncio.run(tasks())
    in_thread(lambda: (langfuse_manager.set_session("thread's own"), record()))
    gc.collect()

    def nobodys() -> None:
        with langfuse_manager.detached():
            record()

    in_thread(nobodys)
    langfuse_manager.clear_session()
    record()
    assert messages() == []


def test_a_process_without_sessions_hears_nothing(messages: Messages) -> None:
    """Who never sets a session is not told to."""
    record()
    in_thread(record)
    asyncio.run(asyncio.to_thread(record))
    assert messages() == []


def test_looking_has_an_end(messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process looks for so many lines and no more, and remembers so many."""
    monkeypatch.setattr(tracing.misuse, "_looks", 5)
    for number in range(20):
        exec(compile(f"record('n{number}')", f"/srv/app{number}.py", "exec"), {"record": record})
    assert tracing.misuse._looks == 0
    assert len(tracing.misuse._early) <= 5
    langfuse_manager.set_session("s")
    assert messages() == []


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("keeps_environ", [False, True])
def test_a_wsgi_server_that_reuses_its_thread(messages: Messages, wrapped: bool, keeps_environ: bool) -> None:
    """A request of an unknown server leaves no session to the next one in its thread, whoever keeps its environ."""
    app = flask.Flask("users")
    kept: list[object] = []

    @app.get("/<user>")
    def visit(user: str) -> str:
        if keeps_environ:
            kept.append(flask.request.environ)
        before = str(langfuse_manager.current_session_id)
        if user != "nobody":
            langfuse_manager.set_session(f"chat-of-{user}")
            langfuse_manager.set_session(f"chat-of-{user}", user_id=user)
        return before

    if wrapped:
        app.wsgi_app = WsgiSessionMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    def serve(*users: str) -> list[str]:
        return [app.test_client().get(f"/{user}").text for user in users]

    contextvars.copy_context().run(serve, "ann")
    contextvars.copy_context().run(serve, "bob")
    assert messages() == []
    begun_with = contextvars.copy_context().run(serve, "ann", "nobody", "bob", "eve", "nobody")
    assert begun_with == ["None"] * 5
    assert messages() == []


def application(name: str) -> Callable[..., list[bytes]]:
    """Return a WSGI application, a method called *name*, that answers with the session with which it begins."""

    def answer(self: object, environ: dict[str, str], start_response: Callable[..., object]) -> list[bytes]:
        before = str(langfuse_manager.current_session_id)
        user = environ["PATH_INFO"].strip("/")
        if user != "nobody":
            langfuse_manager.set_session(f"chat-of-{user}")
        start_response("200 OK", [])
        return [before.encode(), b" ", str(langfuse_manager.current_session_id).encode()]

    answer.__code__ = answer.__code__.replace(co_name=name)
    bound: Callable[..., list[bytes]] = types.MethodType(answer, object())
    return bound


@pytest.mark.parametrize("name", ["__call__", "worker", "run", "mapstar", "handle_event_request"])
def test_an_application_may_be_named_as_a_function_of_a_pool(messages: Messages, name: str) -> None:
    """What makes a function one of a pool is its module, too: Django's and joblib's are both called `__call__`."""
    client = Client(application(name))
    users = ("ann", "nobody", "bob", "nobody")
    answers = contextvars.copy_context().run(lambda: [client.get(f"/{user}").text for user in users])
    assert answers == ["None chat-of-ann", "None None", "None chat-of-bob", "None None"]
    assert messages() == []


def serve_one(app: flask.Flask, path: str) -> str:
    """Answer one request, as a server that nobody has heard of, in its only thread."""
    environ = create_environ(path)
    return b"".join(app(environ, lambda status, headers, fault=None: lambda part: None)).decode()


@pytest.mark.parametrize("sets_late", [False, True])
def test_a_streamed_answer_of_an_unknown_server_is_in_its_session(messages: Messages, sets_late: bool) -> None:
    """While a server written in Python streams an answer, its request is known by the environ that it still has."""
    app = flask.Flask("users")
    kept: list[object] = []

    def visit(user: str) -> None:
        if user != "nobody":
            langfuse_manager.set_session(f"chat-of-{user}")

    @app.get("/<user>")
    def answer(user: str) -> flask.Response:
        kept.append(flask.request.environ)
        if not sets_late:
            visit(user)

        def parts() -> Iterator[str]:
            yield f"{langfuse_manager.current_session_id} "
            if sets_late:
                visit(user)
            yield str(langfuse_manager.current_session_id)

        return flask.Response(parts())

    def serve() -> list[str]:
        return [serve_one(app, f"/{user}") for user in ("ann", "nobody", "bob", "nobody")]

    answers = contextvars.copy_context().run(serve)
    begun = ("None", "None") if sets_late else ("chat-of-ann", "chat-of-bob")
    assert answers == [f"{begun[0]} chat-of-ann", "None None", f"{begun[1]} chat-of-bob", "None None"]
    assert messages() == []


def test_what_is_streamed_out_of_sight_is_in_no_other_session(messages: Messages) -> None:
    """Where nothing around a stream tells of its request, the session that it sets reaches no other request's view."""
    app = flask.Flask("users")

    @app.get("/<user>")
    def answer(user: str) -> flask.Response:
        before = str(langfuse_manager.current_session_id)

        def parts() -> Iterator[str]:
            yield before
            if user != "nobody":
                langfuse_manager.set_session(f"chat-of-{user}")
            yield ""

        return flask.Response(parts())

    @app.get("/set")
    def visit() -> str:
        langfuse_manager.set_session("s")
        return "set"

    def serve() -> list[str]:
        return [app.test_client().get(f"/{path}").text for path in ("set", "ann", "nobody", "bob", "nobody")]

    assert contextvars.copy_context().run(serve) == ["set", "None", "None", "None", "None"]


def test_work_that_a_request_of_an_unknown_server_starts_is_in_its_session(messages: Messages) -> None:
    """A context that is copied from a request has the session last set there, also when it is over."""
    app = flask.Flask("users")
    left_behind = threading.Event()
    seen: list[str | None] = []

    def later() -> None:
        assert left_behind.wait(60)
        seen.append(langfuse_manager.current_session_id)

    with ThreadPoolExecutor(8) as pool:

        @app.get("/<user>")
        def visit(user: str) -> str:
            langfuse_manager.set_session("not yet known")
            langfuse_manager.set_session(f"chat-of-{user}")
            pool.submit(contextvars.copy_context().run, later)
            return str(
                pool.submit(contextvars.copy_context().run, lambda: langfuse_manager.current_session_id).result(60)
            )

        def serve() -> list[str]:
            answers = [app.test_client().get(f"/{user}").text for user in ("ann", "bob")]
            return [*answers, str(langfuse_manager.current_session_id)]

        assert contextvars.copy_context().run(serve) == ["chat-of-ann", "chat-of-bob", "None"]
        left_behind.set()
    assert sorted(map(str, seen)) == ["chat-of-ann", "chat-of-bob"]


def test_a_block_of_a_request_holds_when_another_request_is_met_first(messages: Messages) -> None:
    """A block in a request without a session of its own is not hidden by what is known of requests meanwhile."""
    app = flask.Flask("users")

    @app.get("/block")
    def block() -> str:
        with langfuse_manager.session("in a block"):
            contextvars.copy_context().run(app.test_client().get, "/set")
            return str(langfuse_manager.current_session_id)

    @app.get("/set")
    def visit() -> str:
        langfuse_manager.set_session("set")
        return "set"

    assert contextvars.copy_context().run(app.test_client().get, "/block").text == "in a block"


def test_a_script_that_sets_many_sessions_is_left_alone(messages: Messages) -> None:
    """Sessions one after the other, outside of any request, are on purpose."""
    for number in range(3):
        langfuse_manager.set_session(f"s-{number}")
        record()
    assert messages() == []
