"""Other servers than Langfuse on the command line: push --to, export --conventions, prune --destination, doctor."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from applications import run
from commands import Lfi
from langfuse_integration import langfuse_manager, settings
from langfuse_integration.diagnosis import examine
from peers.backend import Backend
from peers.exchange import Exchange
from peers.langfuse_api import error
from peers.misbehaviour import Behaviour, poison, status
from peers.otlp import Receiver
from peers.server import Answer
from peers.waiting import until

ENDPOINT = "LANGFUSE_INTEGRATION_OTLP_ENDPOINT"
HEADERS = "LANGFUSE_INTEGRATION_OTLP_HEADERS"
RECORDING = """
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("waiting"):
        pass
    langfuse_manager.flush(20)
"""


def recorded(*session_ids: str) -> None:
    """Record two observations in each session, without keys."""
    for session_id in session_ids:
        with langfuse_manager.session(session_id, user_id="ada"), langfuse_manager.trace_span(f"query {session_id}"):
            langfuse_manager.trace_agent_step("think", "in", "out")
    assert langfuse_manager.flush(20).pending == 0


def states(journal: Path) -> list[tuple[int, int]]:
    """The rows of the journal by what destinations have of them: (state, count)."""
    db = sqlite3.connect(journal)
    try:
        return db.execute("SELECT state, count(*) FROM forwards GROUP BY state").fetchall()
    finally:
        db.close()


def findings(about: str = "otlp") -> list[tuple[str, str | None]]:
    """What doctor finds about destinations: what it says, and the cure."""
    settings.forget()
    return [(found.said, found.cure) for found in examine() if found.about == about]


# -- push


def test_a_journal_is_pushed_to_any_server_once(lfi: Lfi, backend: Backend) -> None:
    """Every observation goes there once, with the conventions; a second push has nothing left to do."""
    recorded("s-1", "s-2")
    assert lfi.ok("push", "--to", backend.url, "--header", "api-key=k") == "4 observations delivered.\n"
    assert sorted((span.name, span.session_id) for span in backend.wait_for(4)) == [
        ("plan", "s-1"), ("plan", "s-2"), ("query s-1", "s-1"), ("query s-2", "s-2"),
    ]  # fmt: skip
    assert backend.requests[0].headers["api-key"] == "k"
    assert lfi.ok("push", "--to", f"{backend.url}/v1/traces") == "0 observations delivered.\n"
    assert backend.doubled() == {}


def test_one_session_is_pushed_alone(lfi: Lfi, backend: Backend) -> None:
    """--session delivers that one; a further push delivers the rest."""
    recorded("s-1", "s-2")
    pushed = lfi.ok("push", "--to", backend.url, "--session", "s-2", "--conventions", "none")
    assert pushed == "2 observations delivered.\n"
    assert {span.session_id for span in backend.wait_for(2)} == {"s-2"}
    assert not [key for key in backend.spans[0].attributes if key.startswith("openinference")]
    assert lfi.ok("push", "--to", backend.url) == "2 observations delivered.\n"
    assert backend.doubled() == {}


def test_a_push_elsewhere_leaves_langfuse_its_own(lfi: Lfi, backend: Backend, receiver: Receiver) -> None:
    """What was pushed to another server is still pushed to Langfuse, and the other way round."""
    recorded("s-1")
    assert lfi.ok("push", "--to", backend.url) == "2 observations delivered.\n"
    assert lfi.ok("push", **receiver.environment()) == "2 observations delivered.\n"
    assert {span.name for span in receiver.wait_for(2)} == {"query s-1", "think"}


def test_a_push_to_a_server_that_fails_is_repeated_later(lfi: Lfi, backend: Backend) -> None:
    """A push that gives up says why and what waits; the next one delivers that."""
    recorded("s-1")
    backend.always(status(401))
    done = lfi("push", "--to", backend.url)
    assert (done.returncode, done.stdout) == (1, "0 observations delivered.\n")
    assert "2 observations still waiting" in done.stderr
    assert "check the headers of this destination" in " ".join(done.stderr.split())
    backend.always(poison("query s-1"))
    done = lfi("push", "--to", backend.url)
    assert "1 observation refused by the server, and set aside" in " ".join(done.stderr.split())
    assert [span.name for span in backend.spans] == ["plan"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "localhost:4318"), "is no URL such as http://localhost:4318"),
        (("--to", "http://x", "--header", "api-key"), "header 1 has no value"),
        (("--to", "http://x", "--conventions", "otel"), "there is no convention 'otel'"),
        (("--header", "a=b"), "go with --to"),
        (("--to", "http://x", "--all"), "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(lfi: Lfi, arguments: tuple[str, ...], message: str) -> None:
    """A URL that is none, a header without a value, an unknown convention: exit code 2, and the option is named."""
    done = lfi("push", *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


# -- export


def test_a_session_is_exported_with_conventions(lfi: Lfi) -> None:
    """--conventions adds what other tools read; without it the rows are those that Langfuse gets."""
    recorded("s-1")

    def keys(*arguments: str) -> set[str]:
        exported = json.loads(lfi.ok("export", "s-1", *arguments))
        spans = exported["resourceSpans"][0]["scopeSpans"][0]["spans"]
        return {entry["key"] for span in spans for entry in span["attributes"]}

    assert {"gen_ai.operation.name", "openinference.span.kind"} <= keys("--conventions", "both")
    assert "gen_ai.operation.name" not in keys("--conventions", "openinference")
    assert not keys() & {"gen_ai.operation.name", "openinference.span.kind"}
    assert lfi("export", "s-1", "--conventions", "otel").returncode == 2


# -- doctor and prune


def test_doctor_reaches_each_destination(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination that takes traces is well; one that is not there is wrong, with the setting to check."""
    monkeypatch.setenv(ENDPOINT, backend.url)
    address = f"{backend.url}/v1/traces"
    assert findings() == [(f"{address} takes traces (genai and openinference)", None)]
    assert backend.spans == []
    backend.always(status(404))
    ((said, cure),) = findings()
    assert "no receiver of OTLP traces is there" in said
    assert cure is not None
    assert ENDPOINT in cure
    backend.refuse()
    ((said, cure),) = findings()
    assert "cannot be reached: connection refused" in said


def test_what_waits_for_a_destination_that_is_set_no_longer(
    lfi: Lfi, backend: Backend, receiver: Receiver, journal: Path
) -> None:
    """Doctor tells of rows for a destination that was removed; prune keeps them until it is told to forget them."""
    backend.refuse()
    run(RECORDING, journal, receiver, environment={ENDPOINT: backend.url}, logged="does not accept observations")
    address = f"{backend.url}/v1/traces"
    ((said, cure),) = findings()
    assert said.startswith(f"1 observation waits for {address}")
    assert "name that destination no longer" in said
    assert cure is not None
    assert f"prune --destination {address}" in cure
    done = lfi("prune", "--all", "--yes")
    assert "1 observation not yet delivered will stay" in done.stderr
    assert states(journal) == [(0, 1)]
    assert lfi.ok("prune", "--destination", backend.url, "--dry-run") == "1 observation would be forgotten.\n"
    assert lfi.ok("prune", "--destination", backend.url, "--yes") == f"1 observation forgotten for {address}.\n"
    assert states(journal) == []
    assert findings() == []
    db = sqlite3.connect(journal)
    assert db.execute("SELECT count(*) FROM spans").fetchone() == (0,)
    db.close()


def test_rows_for_other_headers_are_pushed_on_demand_only(
    lfi: Lfi, backend: Backend, receiver: Receiver, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for a server with one key is not sent with another key by itself; a push delivers it."""
    backend.refuse()
    environment = {ENDPOINT: backend.url, HEADERS: "api-key=one"}
    run(RECORDING, journal, receiver, environment=environment, logged="does not accept observations")
    backend.listen()
    run(RECORDING, journal, receiver, environment={**environment, HEADERS: "api-key=two"})
    assert len(backend.wait_for(1)) == 1
    monkeypatch.setenv(ENDPOINT, backend.url)
    monkeypatch.setenv(HEADERS, "api-key=two")
    assert any("or with other headers" in said for said, _ in findings())
    assert lfi.ok("push", "--to", backend.url) == "1 observation delivered.\n"
    assert [request.headers["api-key"] for request in backend.requests if request.spans] == ["two", "two"]
    assert [said for said, cure in findings() if cure] == []
    assert backend.doubled() == {}


def test_doctor_tells_what_a_destination_refused(lfi: Lfi, backend: Backend) -> None:
    """Rows that a destination set aside are told of with the reason, and forgotten by prune."""
    recorded("s-1")
    backend.always(poison("query s-1"))
    lfi("push", "--to", backend.url)
    ((said, cure),) = findings()
    assert said.startswith("1 observation was refused by")
    assert "HTTP 400 (invalid span 'query s-1')" in said
    assert cure is not None
    assert lfi.ok("prune", "--destination", backend.url, "--yes").startswith("1 observation forgotten")
    assert findings() == []
    assert "s-1" in lfi.ok("sessions")


def echoing(code: int) -> Behaviour:
    """Answer with the keys that came, as a careless gateway does."""

    def behave(exchange: Exchange) -> Answer:
        said = [exchange.headers.get(name, "none") for name in ("authorization", "x-key")]
        return error(code, f"wrong: {' and '.join(said)}")

    return behave


@pytest.mark.parametrize("code", [400, 401, 500])
def test_no_key_is_printed_or_kept(
    lfi: Lfi,
    backend: Backend,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    """Keys in headers are in no output, no log, no setting's text and no file, also where the server repeats them."""
    caplog.set_level("DEBUG")
    keys = ("sk-hidden-one", "sk-hidden-two")
    monkeypatch.setenv(ENDPOINT, backend.url)
    monkeypatch.setenv(HEADERS, "authorization=Bearer%20sk-hidden-one,x-key=sk-hidden-two")
    settings.forget()
    backend.always(echoing(code))
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("query"):
        pass
    langfuse_manager.flush(10)
    until(lambda: backend.requests)
    assert {backend.requests[0].headers[name] for name in ("authorization", "x-key")} == {f"Bearer {keys[0]}", keys[1]}
    pushed = ("--header", f"authorization=Bearer {keys[0]}", "--header", f"x-key={keys[1]}")
    commands = [
        ("push", "--to", backend.url, *pushed),
        ("doctor",),
        ("prune", "--destination", backend.url, "--dry-run"),
    ]
    outputs = [done.stdout + done.stderr for done in (lfi(*command) for command in commands)]
    assert "wrong: ****" in caplog.text
    texts = [*outputs, caplog.text, repr(settings.settings()), repr(langfuse_manager.stats), str(findings())]
    files = [file.read_bytes().decode("latin-1") for file in journal.parent.glob("journal.sqlite3*") if file.is_file()]
    for text in (*texts, *files):
        assert not [key for key in keys if key in text], text[:500]
