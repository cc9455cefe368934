"""What workers share: the same in memory and in Redis, and going on while Redis is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from hosts.redis_server import RedisServer
from langfuse_integration import Session, configure, langfuse_manager
from langfuse_integration.sessions.shared_state import (
    KeyValueStore,
    SharedTrace,
    active_key_value,
    conversations,
    traces,
)
from langfuse_integration.sessions.shared_state.key_value import MemoryStore
from langfuse_integration.sessions.shared_state.redis import RedisStore
from peers.waiting import until

SESSION = Session("s", "u", tags=("beta",), metadata={"plan": "pro", "seats": 3})
TRACE = SharedTrace(0xABC, 7, SESSION, {"steps": [1, 2]})


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., KeyValueStore]]:
    """Make shelves of one kind; those in Redis share one server."""
    made: list[KeyValueStore] = []
    server = RedisServer() if request.param == "redis" else None

    def shelf_of(**options: float) -> KeyValueStore:
        if server is None:
            made.append(MemoryStore(**options))  # type: ignore[arg-type]
        else:
            made.append(RedisStore(server.url, "test:", **options))  # type: ignore[arg-type]
        return made[-1]

    yield shelf_of
    for each in made:
        each.close(5)
    if server is not None:
        server.kill()


@pytest.fixture
def workers(redis_server: RedisServer) -> Iterator[tuple[RedisStore, RedisStore]]:
    """Two workers' shelves in one server."""
    pair = RedisStore(redis_server.url, "test:"), RedisStore(redis_server.url, "test:")
    yield pair
    for each in pair:
        each.close(5)


def test_what_was_put_is_there(make: Callable[..., KeyValueStore]) -> None:
    """The last value put for a key stays; a key without a value is None."""
    found = make()
    assert found.get("k").result(10) is None
    for value in (b"one", b"two"):
        found.put("k", value)
        assert found.get("k").result(10) == value
    found.put("other", b"")
    assert (found.get("k").result(10), found.get("other").result(10)) == (b"two", b"")
    assert found.look("k") == b"two"


def test_a_claim_gives_what_was_first(make: Callable[..., KeyValueStore]) -> None:
    """All of 20 concurrent claims of one key get the same value."""
    found = make()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda number: found.claim("k", b"%d" % number).result(10), range(20)))
    assert len(set(told)) == 1
    assert found.get("k").result(10) == told[0]
    found.put("k", b"handed over")
    assert found.claim("k", b"late").result(10) == b"handed over"


def test_nothing_is_kept_for_ever(make: Callable[..., KeyValueStore]) -> None:
    """After its time a value is gone, in memory too."""
    found = make(kept_s=0.2)
    found.put("k", b"one")
    found.claim("c", b"one").result(10)
    until(lambda: found.get("k").result(10) is None)
    until(lambda: found.get("c").result(10) is None)
    until(lambda: found.look("k") is None)


def test_a_process_knows_at_most_so_many() -> None:
    """A store with a limit of 10 keeps the last 10 of 30 values."""
    found = MemoryStore(limit=10)
    for number in range(30):
        found.put(str(number), b"v")
    assert len(found) == 10
    assert [number for number in range(30) if found.look(str(number))] == list(range(20, 30))


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def configured(request: pytest.FixtureRequest) -> Iterator[str]:
    """The process-wide shelf, in memory or in Redis."""
    if request.param == "memory":
        configure(store="memory")
        yield "memory"
    else:
        with RedisServer() as server:
            configure(store=server.url)
            yield server.url
            active_key_value().close(5)
    configure(store="memory")
    active_key_value()


def test_conversations_and_traces_come_back_whole(configured: str) -> None:
    """A session with its tags and metadata, a cleared one and a trace are recalled as they were remembered."""
    conversations.remember("thread-1", SESSION)
    conversations.remember("thread-2", None)
    traces.remember("thread-1", TRACE)
    assert conversations.recall("thread-1", timeout_s=10) == SESSION
    assert conversations.recall("thread-2", timeout_s=10) is None
    assert conversations.recall("thread-3", timeout_s=10) is None
    assert traces.recall("thread-1", timeout_s=10) == TRACE
    assert asyncio.run(conversations.recall_soon("thread-1", 10)) == SESSION
    conversations.remember("thread-1", None)
    assert conversations.recall("thread-1", timeout_s=10) is None


IDS = st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable() and bool(text.strip()))


@given(key=st.text(), session_id=st.none() | IDS, user_id=st.none() | IDS, tags=st.lists(IDS, max_size=3))
def test_any_session_comes_back_as_it_was(
    key: str, session_id: str | None, user_id: str | None, tags: list[str]
) -> None:
    """Whatever characters ids and keys have."""
    session = Session(session_id, user_id, tags=tags)
    conversations.remember(key, session)
    assert conversations.recall(key) == session


@pytest.mark.redis
def test_workers_see_what_each_other_put(workers: tuple[RedisStore, RedisStore]) -> None:
    """A value put in one worker is there in the other; a change is too, though the other knows the old one."""
    one, other = workers
    for value in (b"first", b"second"):
        one.put("k", value)
        assert one.get("k").result(10) == value
        assert other.get("k").result(10) == value
    other.put("k", b"third")
    assert other.get("k").result(10) == b"third"
    assert one.get("k").result(10) == b"third"
    assert one.claim("mine", b"one").result(10) == b"one"
    assert other.claim("mine", b"other").result(10) == b"one"


@pytest.mark.redis
def test_the_server_learns_no_secret(redis_server: RedisServer) -> None:
    """A key of the application, perhaps a cookie, stands in Redis as a digest, under the project's own name."""
    configure(store=redis_server.url, environment="staging")
    conversations.remember("cookie-secret", SESSION)
    assert conversations.recall("cookie-secret", timeout_s=10) == SESSION
    with redis.Redis.from_url(redis_server.url) as client:
        [key] = client.keys()
        assert 0 < client.ttl(key) <= 7 * 86_400
    assert key.startswith(b"langfuse-integration:local:staging:conversation:")
    assert b"secret" not in key
    active_key_value().close(5)


@pytest.mark.redis
def test_a_worker_goes_on_without_the_server_and_makes_up_for_it(
    workers: tuple[RedisStore, RedisStore], redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is gone each worker has what it knows itself; what it put meanwhile is there when Redis is back."""
    one, other = workers
    one.put("before", b"known")
    until(lambda: other.get("before").result(10) == b"known")
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        redis_server.kill()
        until(lambda: one.get("before").result(10) == b"known" and one.gone)
        until(lambda: other.get("nothing").result(10) is None and other.gone)
        one.put("meanwhile", b"one")
        assert one.get("meanwhile").result(10) == b"one"
        assert other.get("meanwhile").result(10) is None
        assert one.claim("owner", b"one").result(10) == b"one"
        assert one.claim("owner", b"again").result(10) == b"one"
        redis_server.start()
        until(lambda: not one.gone and not other.gone)
    until(lambda: other.get("meanwhile").result(10) == b"one")
    with redis.Redis.from_url(redis_server.url) as client:
        until(lambda: client.keys("test:before"), what="what the server had forgotten")
    until(lambda: other.claim("owner", b"other").result(10) == b"one")
    assert [entry.message for entry in caplog.records if "cannot be reached" in entry.message] == caplog.messages
    assert len(caplog.messages) == 1
    assert (one.outages, other.outages) == (1, 1)
    assert one.unanswered > 0
    assert (one.lost, one.refused) == (0, 0)


@pytest.mark.redis
def test_a_server_that_was_started_anew_is_no_outage(
    workers: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    """A connection that broke while nothing was asked is made again, what the server forgot goes there first, and the
    first answer is right."""
    one, other = workers
    one.put("k", b"put before")
    other.put("o", b"put before")
    assert (one.get("k").result(10), other.get("o").result(10)) == (b"put before", b"put before")
    assert one.claim("owner", b"one").result(10) == b"one"
    redis_server.kill()
    redis_server.start()
    assert one.claim("owner", b"late").result(10) == b"one"
    assert one.get("k").result(10) == b"put before"
    assert one.get("o").result(10) is None
    assert other.get("k").result(10) == b"put before"
    assert other.claim("owner", b"late").result(10) == b"one"
    assert one.get("o").result(10) == b"put before"
    redis_server.kill()
    redis_server.start()
    other.put("k", b"put after")
    assert other.get("k").result(10) == b"put after"
    assert one.get("k").result(10) == b"put after"
    assert [(each.outages, each.unanswered, each.refused) for each in workers] == [(0, 0, 0)] * 2


@pytest.mark.redis
def test_what_is_older_never_replaces_what_is_younger(
    workers: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    """A worker that could not write during an outage does not undo what another one wrote after it."""
    one, other = workers
    redis_server.kill()
    until(lambda: one.get("k").result(10) is None and one.gone)
    one.put("k", b"old")
    other.put("k", b"young")
    redis_server.start()
    until(lambda: not one.gone and not other.gone)
    until(lambda: one.get("k").result(10) == b"young")
    assert other.get("k").result(10) == b"young"


@pytest.mark.redis
def test_a_server_that_answers_nothing_is_not_waited_for(
    workers: tuple[RedisStore, RedisStore], redis_server: RedisServer
) -> None:
    """A frozen server counts as gone; thawed it has everything that was put."""
    one, other = workers
    one.put("k", b"known")
    assert one.get("k").result(10) == b"known"
    redis_server.freeze()
    try:
        assert one.get("k").result(10) == b"known"
        assert one.gone
        one.put("k", b"meanwhile")
    finally:
        redis_server.thaw()
    until(lambda: other.get("k").result(10) == b"meanwhile")


@pytest.mark.redis
def test_an_answer_that_is_late_is_what_is_known_here(redis_server: RedisServer) -> None:
    """recall waits its time and no longer, on an event loop too."""
    configure(store=redis_server.url)
    conversations.remember("k", SESSION)
    assert conversations.recall("k", timeout_s=10) == SESSION
    redis_server.freeze()
    try:
        assert conversations.recall("k", timeout_s=0.01) == SESSION
        assert asyncio.run(conversations.recall_soon("k", 0.01)) == SESSION
    finally:
        redis_server.thaw()
        active_key_value().close(5)


@pytest.mark.redis
def test_several_keys_are_asked_for_at_once(redis_server: RedisServer) -> None:
    """The first key that has a value counts; of a server that is silent, what is known here does."""
    configure(store=redis_server.url)
    conversations.remember("second", SESSION).result(10)
    conversations.remember("third", None).result(10)
    assert conversations.recall("first", "second", "third", timeout_s=10) == SESSION
    redis_server.freeze()
    try:
        assert conversations.recall("first", "other", "second", timeout_s=0.01) == SESSION
        assert conversations.recall("first", "other", timeout_s=0.01) is None
    finally:
        redis_server.thaw()
        active_key_value().close(5)


@pytest.mark.redis
def test_too_much_for_an_outage_is_counted(redis_server: RedisServer) -> None:
    """Up to *limit* values that cannot be written wait; the rest is lost and counted."""
    found = RedisStore(redis_server.url, "test:", limit=10)
    redis_server.kill()
    until(lambda: found.get("k").result(10) is None and found.gone)
    for number in range(30):
        found.put(str(number), b"v")
    until(lambda: found.lost == 20)
    redis_server.start()
    until(lambda: not found.gone)
    assert [number for number in range(30) if found.get(str(number)).result(10)] == list(range(20, 30))
    found.close(5)


@pytest.mark.redis
def test_what_the_server_refuses_is_counted(redis_server: RedisServer) -> None:
    """A key that holds something else is no outage; this process goes on with what it knows."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("test:k", "x")
    found = RedisStore(redis_server.url, "test:")
    found.put("k", b"mine")
    assert found.get("k").result(10) == b"mine"
    assert (found.refused, found.outages) == (2, 0)
    found.put("fine", b"v")
    assert found.get("fine").result(10) == b"v"
    found.close(5)


@pytest.mark.redis
def test_a_forked_worker_speaks_for_itself(redis_server: RedisServer) -> None:
    """A child that was forked after the shelf was used puts and gets on its own, as under a preforking server."""
    script = (
        "import os, sys\n"
        "from langfuse_integration.sessions.shared_state import conversations\n"
        "from langfuse_integration import Session\n"
        "conversations.remember('parent', Session('p'))\n"
        "assert conversations.recall('parent', timeout_s=10) == Session('p')\n"
        "if child := os.fork():\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "    assert conversations.recall('child', timeout_s=10) == Session('c')\n"
        "else:\n"
        "    conversations.remember('child', Session('c'))\n"
        "    ok = conversations.recall('child', timeout_s=10) == Session('c')\n"
        "    ok = ok and conversations.recall('parent', timeout_s=10) == Session('p')\n"
        "    os._exit(0 if ok else 1)\n"
    )
    _python(script, redis_server.url)


@pytest.mark.redis
def test_what_is_put_last_is_written_at_exit(redis_server: RedisServer) -> None:
    """A process that ends right after remembering something has told the others."""
    _python(
        "from langfuse_integration.sessions.shared_state import traces, SharedTrace\n"
        "traces.remember('t', SharedTrace(1, 2))",
        redis_server.url,
    )
    configure(store=redis_server.url)
    assert traces.recall("t", timeout_s=10) == SharedTrace(1, 2)
    active_key_value().close(5)


def test_a_refused_thread_delays_the_store_only(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be had for a while, nothing is raised, and what waits is written with the next order."""
    store = RedisStore(redis_server.url, "test:")
    try:
        with monkeypatch.context() as refusing:
            refusing.setattr(threading.Thread, "start", _refused)
            written = store.put("first", b"1")
        store.put("second", b"2").result(10)
        written.result(10)
        assert store.get("first").result(10) == b"1"
    finally:
        store.close(5)


def _refused(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_store_that_makes_no_sense_is_memory(caplog: pytest.LogCaptureFixture) -> None:
    """A URL that is none gets one warning, and memory serves this process."""
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        configure(store="postgres://somewhere")
        conversations.remember("k", SESSION)
        assert conversations.recall("k") == SESSION
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(
        "LANGFUSE_INTEGRATION_STORE cannot be used, memory serves this process alone: "
    )


def test_a_store_without_its_package_is_memory() -> None:
    """Without redis-py the warning names the extra, and nothing fails."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from langfuse_integration.sessions.shared_state import conversations\n"
        "from langfuse_integration import Session\n"
        "conversations.remember('k', Session('s'))\n"
        "assert conversations.recall('k') == Session('s')\n"
    )
    assert "pip install 'langfuse-integration[redis]'" in _python(script, "redis://127.0.0.1:1/0")


# -- whose a session is


def test_one_id_for_two_users_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the session, both users and the lines that set them."""
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        for user in ("alice", "alice", "anonymous", None, "bob", "carol", "bob"):
            langfuse_manager.set_session("shared", user_id=user)
        langfuse_manager.set_session("own", user_id="bob")
        with langfuse_manager.session("own", "bob"):
            pass
    [message] = caplog.messages
    assert message.startswith("session 'shared' is used by user 'alice' (")
    assert message.count("test_shared.py:") == 2
    assert "by user 'bob' (" in message
    assert message.endswith("give each user's session an id of its own")


def test_a_session_that_is_handed_over_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """set_user says on purpose who a session's user is from now on, as after a log-in."""
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        langfuse_manager.set_session("visit", user_id="guest-17")
        langfuse_manager.set_user("alice")
        langfuse_manager.set_session("visit", user_id="alice")
    assert caplog.messages == []


def test_owners_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with many sessions knows the owners of the last ones."""
    from langfuse_integration.sessions import ownership

    monkeypatch.setattr(ownership._owners, "limit", 10)
    for number in range(50):
        langfuse_manager.set_session(f"s-{number}", user_id="u")
    assert len(ownership._owners) == 10


@pytest.mark.redis
def test_one_id_for_two_users_is_noticed_across_workers(redis_server: RedisServer) -> None:
    """Two processes that use one id for two users: the second one warns, with the line of the first."""
    script = "from langfuse_integration import langfuse_manager as m\nm.set_session('shared', user_id={!r})"
    lines = ["import os", "exec(compile({!r}, {!r}, 'exec'))"]
    said = [
        _python("\n".join(lines).format(script.format(user), f"/srv/{user}.py"), redis_server.url)
        for user in ("alice", "bob")
    ]
    assert said[0] == ""
    assert "session 'shared' is used by user 'alice' (/srv/alice.py:2 in process " in said[1]
    assert "and by user 'bob' (/srv/bob.py:2 in process " in said[1]


def _python(script: str, store: str) -> str:
    """Run *script* in a process of its own, and return what it logged."""
    environment = {**os.environ, "LANGFUSE_INTEGRATION_STORE": store}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
