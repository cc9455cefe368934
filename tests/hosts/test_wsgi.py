"""The middleware of WSGI: each request has the session of its declared sources, and nothing outlives it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.wsgi import SessionMiddleware
from langfuse_integration.propagation import inject
from langfuse_integration.testing import RecordedSessions


class Application:
    """Sets the session that a request's path names, and records before the answer, in it and when it is closed."""

    def __init__(self) -> None:
        self.closed = False

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].strip("/")
        if name:
            langfuse_manager.set_session(name, user_id=environ.get("QUERY_STRING") or None)
        with langfuse_manager.trace_span("view"):
            pass
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Streamed(self)


class Streamed:
    def __init__(self, application: Application) -> None:
        self._application = application

    def __iter__(self) -> Iterator[bytes]:
        with langfuse_manager.trace_span("stream"):
            yield b"a"
            yield b"b"

    def close(self) -> None:
        self._application.closed = True
        with langfuse_manager.trace_span("close"):
            pass


class Browser(Client):
    """A client that reads an answer to its end and closes it, as a server does."""

    def open(self, *arguments: Any, **options: Any) -> Any:
        return super().open(*arguments, **{"buffered": True, **options})


def client(**options: Any) -> Browser:
    return Browser(SessionMiddleware(Application(), **options))


def recorded(sessions: RecordedSessions) -> list[tuple[str, str | None, str | None]]:
    """Name, session and user of what was recorded since the last call."""
    rows = [(row.name, row.session_id, row.user_id) for row in sessions.observations]
    sessions.clear()
    return rows


def steps(session: str | None, user: str | None = None) -> list[tuple[str, str | None, str | None]]:
    return [("view", session, user), ("stream", session, user), ("close", session, user)]


def test_a_session_holds_for_its_request_only(sessions: RecordedSessions) -> None:
    """What a view sets holds while the answer streams and is closed, and not in the next request of the thread."""
    browser = client()
    for path, expected in (("/s-alice?alice", ("s-alice", "alice")), ("/", (None, None)), ("/s-bob", ("s-bob", None))):
        assert browser.get(path).data == b"ab"
        assert recorded(sessions) == steps(*expected)
    assert langfuse_manager.current_session is None


def test_the_caller_s_session_is_neither_seen_nor_changed(sessions: RecordedSessions) -> None:
    """A test that calls the application within a session of its own finds that session unchanged."""
    with langfuse_manager.session("s-test"):
        client().get("/s-alice")
        assert langfuse_manager.current_session_id == "s-test"
    assert recorded(sessions) == steps("s-alice")


def test_an_error_of_the_application_ends_the_request(sessions: RecordedSessions) -> None:
    """An exception goes to the server as it is, and the session goes with it."""

    def failing(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        langfuse_manager.set_session("s-failing")
        raise KeyError("the application's own")

    with pytest.raises(KeyError, match="the application's own"):
        Browser(SessionMiddleware(failing)).get("/")
    assert langfuse_manager.current_session is None


def test_two_streamed_answers_at_a_time_do_not_mix(sessions: RecordedSessions) -> None:
    """Answers that one thread streams in turn are each in their own session."""
    app = SessionMiddleware(Application())

    def request(path: str) -> Iterator[bytes]:
        environ = {"PATH_INFO": path, "QUERY_STRING": ""}
        return iter(app(environ, lambda *_: None))

    first, second = request("/s-1"), request("/s-2")
    assert [next(first), next(second), next(first), next(second)] == [b"a", b"a", b"b", b"b"]
    assert [next(first, None), next(second, None)] == [None, None]
    assert sorted(recorded(sessions)) == sorted(
        (name, session, None) for session in ("s-1", "s-2") for name in ("view", "stream")
    )


def test_what_needs_no_more_work_is_passed_on_as_it_is() -> None:
    """A list and a server's file wrapper reach the server, which may send them in its own fast way."""

    class FileWrapper:
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

    for body in ([b"x"], FileWrapper()):
        app = SessionMiddleware(lambda environ, start, body=body: body)
        assert app({"wsgi.file_wrapper": FileWrapper}, lambda *_: None) is body


def test_a_header_and_a_cookie_name_the_session(sessions: RecordedSessions) -> None:
    """The declared header comes first, then the cookie; the user comes from a function of the environ."""
    browser = client(header="X-Session-ID", cookie="chat", user=lambda environ: environ.get("REMOTE_USER"))
    browser.set_cookie("chat", "s-cookie")
    browser.get("/", environ_overrides={"REMOTE_USER": "alice"})
    assert recorded(sessions) == steps("s-cookie", "alice")
    browser.get("/", headers={"x-session-id": "s-header"})
    assert recorded(sessions) == steps("s-header")
    browser.get("/s-set")
    assert recorded(sessions) == steps("s-set")


def test_an_undeclared_source_is_never_looked_at(sessions: RecordedSessions) -> None:
    """Headers, cookies and baggage of a stranger change nothing."""
    browser = client()
    browser.set_cookie("chat", "s-cookie")
    browser.get("/", headers={"x-session-id": "s-header", "baggage": "session.id=s-baggage"})
    assert recorded(sessions) == steps(None)


def test_an_unusable_id_is_left_out(sessions: RecordedSessions, caplog: pytest.LogCaptureFixture) -> None:
    """An id that Langfuse could not group by leaves the request untagged, and is said once."""
    browser = client(header="x-session-id")
    for _ in range(2):
        assert browser.get("/", headers={"x-session-id": "x" * 201}).data == b"ab"
    assert recorded(sessions) == steps(None) * 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("a request's id is left out: session_id 'xxx")
    assert said.endswith("has 201 characters. Allowed: 1 to 200 printable characters.")


def test_a_browser_without_a_session_gets_one(sessions: RecordedSessions) -> None:
    """With `issue` a browser's first request gets a cookie, and its next one is in the same session."""
    browser = client(cookie="chat", issue="chat")
    answer = browser.get("/", base_url="https://localhost")
    (issued,) = answer.headers.getlist("Set-Cookie")
    session = issued.split(";")[0].removeprefix("chat=")
    assert session.startswith("chat-")
    assert issued == f"chat={session}; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert browser.get("/", base_url="https://localhost").headers.getlist("Set-Cookie") == []
    assert recorded(sessions) == steps(session) * 2


def test_a_conversation_goes_on(sessions: RecordedSessions) -> None:
    """What was set in an earlier request of a browser holds again in its next one, and in no other browser."""
    app = SessionMiddleware(Application(), conversation="login")
    alice, stranger = Browser(app), Browser(app)
    assert alice.get("/s-alice?alice").headers.getlist("Set-Cookie")
    alice.get("/")
    stranger.get("/")
    assert recorded(sessions) == [*steps("s-alice", "alice"), *steps("s-alice", "alice"), *steps(None)]


def test_a_conversation_is_known_by_a_key_of_the_application(sessions: RecordedSessions) -> None:
    """A log-in's id may be the key: the session that was set under it holds in the next request with it."""
    browser = client(conversation=lambda environ: environ.get("HTTP_X_LOGIN"))
    browser.get("/s-1", headers={"x-login": "log-in of one"})
    assert not browser.get("/", headers={"x-login": "log-in of one"}).headers.getlist("Set-Cookie")
    browser.get("/", headers={"x-login": "another's"})
    assert recorded(sessions) == [*steps("s-1"), *steps("s-1"), *steps(None)]


def test_a_caller_s_trace_and_session_go_on(sessions: RecordedSessions) -> None:
    """With `baggage` the view's row stands below the caller's span, in the caller's session."""
    with langfuse_manager.session("s-caller", "u-caller"), langfuse_manager.trace_span("caller") as caller:
        headers = inject({})
    client(baggage=True).get("/", headers=headers)
    rows = {row.name: row for row in sessions.observations}
    assert {name: (row.session_id, row.user_id, row.trace_id) for name, row in rows.items()} == dict.fromkeys(
        ("caller", "view", "stream", "close"), ("s-caller", "u-caller", caller.trace_id)
    )
    assert rows["view"].parent_id == caller.id


def test_an_unknown_option_is_refused() -> None:
    """A misspelt option raises when the middleware is made, and names the options."""
    with pytest.raises(TypeError, match=r"takes session, header, cookie, .* not cokie"):
        client(cokie="chat")
