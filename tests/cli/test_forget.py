"""`forget`: a user or a session, removed from every file, from Redis and from Langfuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace

from commands import Lfi
from hosts.redis_server import RedisServer
from langfuse_integration import OtlpDestination, configure, langfuse_manager, runtime
from langfuse_integration.journal.forgetting import Forgetting, Subject
from langfuse_integration.reading.archive import Archive
from langfuse_integration.sessions.session import Session
from langfuse_integration.sessions.shared_state import shared_map
from peers.otlp import Receiver


def record(session_id: str, user_id: str, secret: str, steps: int = 3) -> list[str]:
    """Record an agent run whose history grows, with a score, an image and an error; return its trace's id."""
    history = [{"role": "user", "content": f"{number} {secret} " + "x" * 3_000} for number in range(steps)]
    with (
        langfuse_manager.session(session_id, user_id, tags=[secret]),
        langfuse_manager.trace_span("run", as_type="agent", metadata={"note": secret}) as root,
    ):
        for step in range(steps):
            with langfuse_manager.trace_span("step", input=history[: step + 1]) as span:
                span.update(output=f"{secret} answered")
        root.score("helpful", 1.0, comment=secret)
    return [root.trace_id]


def files_of(journal: Path) -> bytes:
    """Return the bytes of every file beside a journal."""
    return b"".join(file.read_bytes() for file in sorted(journal.parent.rglob("*")) if file.is_file())


def sessions_in(journal: Path) -> list[str]:
    """Return the sessions that have rows."""
    with Archive(journal) as archive:
        return [row[0] for row in archive.query("SELECT DISTINCT session_id FROM spans ORDER BY 1")]


@pytest.mark.parametrize("option", ["--user", "--session"])
def test_no_byte_of_what_was_forgotten_is_left(lfi: Lfi, journal: Path, option: str) -> None:
    """Texts, histories, ids, tags and comments are gone from every file; another user's rows are as they were."""
    record("s-grace", "grace", "gracious")
    record("s-ada", "ada-lovelace", "lemonade")
    assert langfuse_manager.flush(20).pending == 0
    assert b"lemonade" in files_of(journal)
    with Archive(journal) as archive:
        before = archive.query("SELECT span_id, body FROM spans WHERE user_id = 'grace' ORDER BY id")
    out = lfi.ok("forget", option, "ada-lovelace" if option == "--user" else "s-ada", "--yes")
    assert "4 observations of 1 trace, 1 score" in out
    assert "Langfuse: not told" in out
    left = files_of(journal)
    for secret in (b"lemonade", b"ada-lovelace", b"s-ada"):
        assert secret not in left
    with Archive(journal) as archive:
        assert archive.query("SELECT span_id, body FROM spans WHERE user_id = 'grace' ORDER BY id") == before
    assert "gracious" in lfi.ok("show", "s-grace", "--full")
    record("s-grace", "grace", "later")
    assert langfuse_manager.flush(20) == (12, 0, 0)  # a process that had the file open goes on


def test_what_was_removed_earlier_is_gone_too(lfi: Lfi, journal: Path) -> None:
    """Rows that were delivered or pruned leave bytes in free pages, which are written anew as well."""
    record("s-ada", "ada", "lemonade", steps=20)
    assert langfuse_manager.flush(20).pending == 0
    lfi.ok("prune", "--session", "s-ada", "--yes")
    journal.with_name(journal.name + ".damaged-20260101-000000-1234").write_bytes(b"lemonade")
    done = lfi("forget", "--session", "s-ada", "--yes")
    assert done.returncode == 0
    assert "Damaged journals" in done.stderr
    assert b"lemonade" not in files_of(journal)


@pytest.mark.parametrize("lists_observations", [True, False], ids=["langfuse 4", "langfuse 3"])
def test_langfuse_is_told_to_delete_what_it_has(
    lfi: Lfi, receiver: Receiver, journal: Path, lists_observations: bool
) -> None:
    """Traces that the journal knows and traces that only Langfuse knows; those of others are not named."""
    known = record("s-ada", "ada", "lemonade")
    assert langfuse_manager.flush(20).pending == 0
    receiver.api.lists_observations = lists_observations
    receiver.api.traces = [
        {"id": "a" * 32, "userId": "ada", "sessionId": "s-old"},
        {"id": "b" * 32, "userId": "grace", "sessionId": "s-new"},
    ]
    out = lfi.ok("forget", "--user", "ada", "--yes", **receiver.environment())
    assert "told to delete 2 traces" in out
    assert sorted(receiver.api.deleted) == sorted([*known, "a" * 32])
    assert receiver.spans == []
    left = files_of(journal)
    assert b"lemonade" not in left
    assert known[0].encode() not in left


@pytest.mark.parametrize("who", ["a process", "push", "forget"])
def test_in_an_outage_the_request_waits_and_goes_on_later(
    lfi: Lfi, receiver: Receiver, journal: Path, who: str
) -> None:
    """The journal is clean at once; Langfuse is told by whoever delivers next, once."""
    known = record("s-ada", "ada", "lemonade")
    assert langfuse_manager.flush(20).pending == 0
    receiver.refuse()
    done = lfi("forget", "--user", "ada", "--yes", **receiver.environment())
    assert done.returncode == 1
    assert "was not told: connection refused" in done.stderr
    assert b"lemonade" not in files_of(journal)
    receiver.listen()
    if who == "a process":
        configure(public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url)
        with langfuse_manager.trace_span("next"):
            pass
        assert langfuse_manager.flush(20) == (1, 0, 0)
        runtime.reset()
    elif who == "push":
        lfi.ok("push", **receiver.environment())
    else:
        lfi.ok("forget", "--user", "ada", "--yes", **receiver.environment())
    assert set(receiver.api.deleted) == set(known)
    assert lfi.ok("push", **receiver.environment()).startswith("0 observations")
    assert len(receiver.api.deleted) == 1


def test_rows_that_wait_for_langfuse_are_never_sent(lfi: Lfi, receiver: Receiver, journal: Path) -> None:
    """What an outage left in the journal is removed before anybody delivers it, and said."""
    configure(public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url)
    receiver.refuse()
    record("s-ada", "ada", "lemonade")
    langfuse_manager.flush(0.1)
    runtime.reset()
    receiver.listen()
    assert "(4 not delivered yet)" in lfi.ok("forget", "--user", "ada", "--yes", **receiver.environment())
    assert lfi.ok("push", **receiver.environment()) == "0 observations delivered.\n"
    assert receiver.spans == []
    assert sessions_in(journal) == []


def test_spans_of_others_are_removed_with_their_trace(lfi: Lfi, journal: Path) -> None:
    """A database query below an agent, waiting for a destination that is down, leaves no byte; the receipt names it."""
    address = "http://127.0.0.1:9"
    configure(destinations=[OtlpDestination(address)])
    runtime.ready()
    query = trace.get_tracer("app")
    for user_id, secret in (("ada", "lemonade"), ("grace", "gracious")):
        with langfuse_manager.session(f"s-{user_id}", user_id), langfuse_manager.trace_span("run"):
            query.start_span("query", attributes={"db.statement": f"SELECT {secret}"}).end()
    langfuse_manager.flush(0.2)
    runtime.reset()
    assert b"lemonade" in files_of(journal)
    done = lfi("forget", "--user", "ada", "--yes")
    assert done.returncode == 0
    assert f"{address}/v1/traces was not told" in done.stderr
    assert b"lemonade" not in files_of(journal)
    assert b"gracious" in files_of(journal)


def test_what_workers_share_in_redis_is_removed(lfi: Lfi) -> None:
    """Conversations of the user are gone from Redis, those of others stay; a server that is away is said."""
    with RedisServer() as server:
        configure(store=server.url)
        for key, user_id in (("c-1", "ada"), ("c-2", "grace")):
            shared_map.conversations.remember(key, Session(f"s-{key}", user_id)).result(10)
        store = {"LANGFUSE_INTEGRATION_STORE": server.url}
        assert "Redis: 1 entry removed." in lfi.ok("forget", "--user", "ada", "--yes", **store)
        assert "Redis: 0 entries removed." in lfi.ok("forget", "--user", "ada", "--yes", **store)
        runtime.reset()
        configure(store=server.url)
        assert shared_map.conversations.recall("c-1", timeout_s=10) is None
        kept = shared_map.conversations.recall("c-2", timeout_s=10)
        assert kept is not None
        assert kept.user_id == "grace"
        server.kill()
        done = lfi("forget", "--user", "ada", "--yes", **store)
        assert done.returncode == 1
        assert "Redis does not answer" in done.stderr
        runtime.reset()


def test_what_to_forget_has_to_be_named_and_confirmed(lfi: Lfi, journal: Path) -> None:
    """Neither, both, or nobody to ask: nothing is removed."""
    record("s-ada", "ada", "lemonade")
    assert langfuse_manager.flush(20).pending == 0
    assert lfi("forget", "--yes").returncode == 2
    assert lfi("forget", "--user", "ada", "--session", "s-ada", "--yes").returncode == 2
    assert "--yes" in lfi("forget", "--user", "ada").stderr
    assert "0 observations of 0 traces" in lfi.ok("forget", "--user", "nobody", "--yes")
    assert sessions_in(journal) == ["s-ada"]


RUNS = st.lists(
    st.tuples(st.sampled_from(["ada", "grace", "alan"]), st.sampled_from(["s-1", "s-2"]), st.integers(1, 12)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=RUNS, who=st.sampled_from(["ada", "grace", "alan"]))
def test_whatever_was_recorded_only_others_are_left(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, str, int]], who: str
) -> None:
    """Any order of users, sessions and sizes: the bytes of the one are gone, the rows of the others are all there."""
    journal = tmp_path_factory.mktemp("forget") / "journal.sqlite3"
    configure(journal=journal)
    for user_id, session_id, steps in runs:
        record(f"{session_id}-{user_id}", f"user-{user_id}", f"secret-of-{user_id}", steps)
    assert langfuse_manager.flush(20).pending == 0
    with Forgetting(journal) as forgetting:
        assert forgetting.forget(Subject(user_id=f"user-{who}"), None).is_clean
    left = files_of(journal)
    others = [(user_id, steps) for user_id, _, steps in runs if user_id != who]
    assert f"user-{who}".encode() not in left
    assert f"secret-of-{who}".encode() not in left
    with Archive(journal) as archive:
        (count,) = archive.query("SELECT count(*) FROM spans")[0]
    assert count == sum(steps + 1 for _, steps in others)
    runtime.reset()
