"""Each prepared fault is found, alone, with a cure."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from langfuse_integration import Session
from langfuse_integration.diagnosis import Finding, examine, file
from langfuse_integration.diagnosis.versions import DEVELOPMENT_EXTRAS
from peers.otlp import Receiver
from peers.server import Answer, LocalServer, Request
from viewer.sample import START_NS, Book, guarding, record

Wrong = Callable[[], list[Finding]]
SECOND_MS = 1_000
ROOT = Path(__file__).parents[2]


def only(found: list[Finding]) -> Finding:
    """Return the only finding; it says a cure."""
    assert len(found) == 1, found
    assert found[0].cure
    return found[0]


def point_at(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Set the environment that sends to *receiver*."""
    for name, value in {**receiver.environment(), **changes}.items():
        monkeypatch.setenv(name, value)


# -- settings


@pytest.mark.parametrize(
    ("variables", "said", "cure"),
    [
        ({"TRACING_ENABLED": "false"}, "switched off by LANGFUSE_TRACING_ENABLED", "Unset LANGFUSE_TRACING_ENABLED"),
        ({"SAMPLE_RATE": "0"}, "LANGFUSE_SAMPLE_RATE is 0", "Unset"),
        ({"SAMPLE_RATE": "2"}, "LANGFUSE_SAMPLE_RATE is not usable", "Correct LANGFUSE_SAMPLE_RATE"),
        ({"PUBLIC_KEY": "pk-lf-1"}, "LANGFUSE_PUBLIC_KEY is set but LANGFUSE_SECRET_KEY is not", "Correct"),
        ({"SECRET_KEY": "sk-lf-1"}, "LANGFUSE_SECRET_KEY is set but LANGFUSE_PUBLIC_KEY is not", "Correct"),
        ({"BASE_URL": "cloud.langfuse.com"}, "not a URL", "Correct LANGFUSE_BASE_URL"),
        ({"TRACING_ENVIRONMENT": "Prod!"}, "LANGFUSE_TRACING_ENVIRONMENT is 'Prod!'", "Correct"),
        ({"PUBLICKEY": "pk-lf-1"}, "LANGFUSE_PUBLICKEY is set, and nothing reads it", "Call it LANGFUSE_PUBLIC_KEY"),
        ({"INTEGRATION_KEEP": "1"}, "LANGFUSE_INTEGRATION_KEEP is set", "Remove it"),
        ({"INTEGRATION_JOURNAL": "off"}, "what is recorded goes nowhere", "LANGFUSE_INTEGRATION_JOURNAL=off"),
        ({"INTEGRATION_STORE": "disk"}, "neither `memory` nor the address of a Redis server", "redis://"),
        ({"INTEGRATION_STORE": "redis://127.0.0.1:9/0"}, "does not answer", "Start the Redis server"),
    ],
)
def test_a_setting_that_makes_no_sense(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str, cure: str
) -> None:
    """The finding names the variable and what to do with it."""
    for name, value in variables.items():
        monkeypatch.setenv(f"LANGFUSE_{name}", value)
    found = only(wrong())
    assert said in found.said
    assert cure in str(found.cure)


def test_keys_in_each_others_place(wrong: Wrong, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped keys are found twice over, beside the refusal; no key is in what is said."""
    point_at(
        receiver, monkeypatch, LANGFUSE_PUBLIC_KEY="sk-lf-0123456789abcdef", LANGFUSE_SECRET_KEY="pk-lf-0123456789"
    )
    found = wrong()
    assert [finding.about for finding in found] == ["keys", "keys", "langfuse"]
    assert not [finding for finding in found if "0123456789" in finding.said + str(finding.cure)]


# -- Langfuse


def test_keys_that_are_not_taken(wrong: Wrong, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP 401 is told from an outage."""
    point_at(receiver, monkeypatch, LANGFUSE_SECRET_KEY="sk-lf-other")
    found = only(wrong())
    assert found.said == f"Langfuse at {receiver.url} does not take the keys (HTTP 401)."
    assert "Copy both keys again" in str(found.cure)


def test_nobody_there(wrong: Wrong, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection names the address and where to look."""
    point_at(receiver, monkeypatch)
    with receiver.refusing():
        found = only(wrong())
    assert f"Langfuse at {receiver.url} cannot be reached" in found.said
    assert "LANGFUSE_BASE_URL" in str(found.cure)


class Elsewhere(LocalServer):
    """A web server that answers everything in its own way."""

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self._answer = Answer(200, body, headers)
        super().__init__()

    def answer(self, request: Request) -> Answer:
        """Answer with the same."""
        return self._answer


def test_somebody_else_there(wrong: Wrong, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is no Langfuse is not taken for one."""
    with Elsewhere(b"<html>Welcome</html>", {"Content-Type": "text/html"}) as server:
        point_at(receiver, monkeypatch, LANGFUSE_BASE_URL=server.url)
        assert "is no Langfuse" in only(wrong()).said


@pytest.mark.parametrize(("off_s", "way"), [(-3_600, "fast"), (90, "slow")])
def test_a_clock_that_is_off(
    wrong: Wrong, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, off_s: int, way: str
) -> None:
    """The Date of Langfuse's answer tells."""
    body = b'{"data": [{"name": "Project"}]}'
    with Elsewhere(body, {"Date": formatdate(time.time() + off_s, usegmt=True)}) as server:
        point_at(receiver, monkeypatch, LANGFUSE_BASE_URL=server.url)
        found = only(wrong())
    assert found.about == "clock"
    assert f" s {way}, by Langfuse's" in found.said


# -- the journal


def test_a_file_that_is_no_journal(wrong: Wrong, journal: Path) -> None:
    """The finding names the file."""
    journal.touch(0o600)
    journal.write_bytes(b"no database at all " * 100)
    found = only(wrong())
    assert f"The journal {journal} cannot be read" in found.said
    assert "LANGFUSE_INTEGRATION_JOURNAL" in str(found.cure)


def test_a_journal_of_a_newer_release(wrong: Wrong, journal: Path) -> None:
    """A journal of a newer release is a finding that says to upgrade."""
    record_well(journal)
    with sqlite3.connect(journal) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    assert "Upgrade langfuse-integration" in str(only(wrong()).cure)


def test_a_journal_that_others_can_read(wrong: Wrong, journal: Path) -> None:
    """The cure is a command."""
    record_well(journal)
    journal.chmod(0o644)
    assert only(wrong()).cure == f"chmod 600 {journal}"


def test_what_waits_for_long(wrong: Wrong, journal: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys, what has waited for hours is said with its age; without, nothing waits."""
    with Book(journal) as book:
        start_ms = (time.time_ns() - START_NS) / 1e6 - 3 * 3600 * SECOND_MS
        guarding(book, Session("chat-1", "ada"), start_ms)
    assert wrong() == []
    point_at(receiver, monkeypatch)
    found = only(wrong())
    assert found.said == "7 observations wait for Langfuse, the oldest for 3 hours."
    assert "langfuse-integration push" in str(found.cure)


def test_a_journal_that_is_nearly_full(
    wrong: Wrong, journal: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits takes most of what the journal may hold: the oldest is about to be lost."""
    with Book(journal) as book:
        guarding(book, Session("chat-1", "ada"), (time.time_ns() - START_NS) / 1e6)
    with sqlite3.connect(journal) as db:
        (size_bytes,) = db.execute("SELECT sum(length(body)) FROM spans").fetchone()
    db.close()
    point_at(receiver, monkeypatch, LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES=str(size_bytes))
    found = only(wrong())
    assert "fills 100% of the journal" in found.said
    assert "langfuse-integration push, or raise LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES" in str(found.cure)


def test_a_disk_that_is_nearly_full(wrong: Wrong, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less room than it takes: said with the megabytes that are left."""
    record_well(journal)
    monkeypatch.setattr(file, "FREE_BYTES", 1 << 62)
    found = only(wrong())
    assert re.fullmatch(rf"The disk of {journal} has [\d,]+ MB left\.", found.said)


def test_a_journal_that_cannot_be_written(wrong: Wrong, journal: Path) -> None:
    """A read-only journal is read all the same, and the finding says that observations are kept in memory only."""
    record_well(journal)
    journal.chmod(0o400)
    with not_root():
        found = only(wrong())
    assert found.said.startswith(f"{journal} cannot be written by this user: observations are kept in memory only")
    assert "LANGFUSE_INTEGRATION_JOURNAL" in str(found.cure)


@contextmanager
def not_root() -> Iterator[None]:
    """Let what asks for the user's rights be told those of nobody, where the tests are run by root."""
    before = os.getresuid()
    if before[0] == 0:
        os.setresuid(65534, -1, -1)
    try:
        yield
    finally:
        os.setresuid(*before)


def test_what_was_set_aside(wrong: Wrong, journal: Path) -> None:
    """How many, and the reason that Langfuse gave."""
    record_well(journal)
    change(journal, "UPDATE spans SET state = 2, reason = 'HTTP 400: invalid' WHERE type = 'tool'")
    assert only(wrong()).said == "2 observations were refused by Langfuse and set aside: HTTP 400: invalid."


# -- versions


def installed(folder: Path, name: str, version: str, *needs: str) -> None:
    """Put the metadata of a distribution where Python looks first."""
    home = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    home.mkdir(parents=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    (home / "METADATA").write_text("\n".join(lines) + "\n")


def test_a_release_outside_of_the_bounds(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old langfuse is named with the bounds and the command."""
    installed(tmp_path / "site", "langfuse", "3.9.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    found = only(wrong())
    assert found.said == "langfuse 3.9.0 is outside of what is supported (<6,>=4.7)."
    assert found.cure == "pip install 'langfuse<6,>=4.7'"


def test_variables_of_a_file_that_only_the_application_loads(
    wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.env` with keys is named, without their values; nothing is wrong, and nothing is said once they are set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "# LANGFUSE_HOST=a\nexport LANGFUSE_PUBLIC_KEY=pk-lf-1\nLANGFUSE_DEBUG = 0\nOTHER=b\n"
    )
    start = "The file .env sets"

    def named() -> list[str]:
        return [one.said for one in examine() if one.said.startswith(start)]

    (said,) = named()
    assert said.startswith(f"{start} LANGFUSE_DEBUG, LANGFUSE_PUBLIC_KEY: ")
    assert "pk-lf" not in said
    assert wrong() == []
    monkeypatch.setenv("LANGFUSE_DEBUG", "0")
    (tmp_path / ".env").write_text("LANGFUSE_DEBUG=0\n")
    assert named() == []


def test_extras_for_work_on_this_package_bind_no_application(
    wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that only this package's own tests exclude is no finding."""
    installed(tmp_path / "site", "anthropic", "2.14.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    assert wrong() == []


def test_each_extra_is_for_applications_or_for_work_on_this_package() -> None:
    """An extra that `all` does not contain is the demo's or in the list of those that `doctor` leaves out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installable = set(re.findall(r"[\w-]+", project["all"][0].partition("[")[2]))
    assert set(project) == installable | {"all", "demo"} | DEVELOPMENT_EXTRAS


def test_packages_that_do_not_go_together(wrong: Wrong, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter of LlamaIndex that needs mcp 1, beside mcp 2."""
    installed(tmp_path / "site", "llama-index-tools-mcp", "0.4.0", "mcp<2,>=1.9", "pydantic<2; extra == 'old'")
    installed(tmp_path / "site", "mcp", "2.0.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    found = wrong()
    assert "llama-index-tools-mcp 0.4.0 needs mcp<2,>=1.9, but mcp 2.0.0 is installed." in [one.said for one in found]


# -- what was recorded


def record_well(journal: Path) -> None:
    """Write what a healthy application writes."""
    with Book(journal) as book:
        guarding(book, Session("chat-1", "ada"), 0)


def change(journal: Path, statement: str) -> None:
    """Change the journal."""
    with sqlite3.connect(journal) as db:
        db.execute(statement)
    db.close()


def test_traces_made_just_before_the_session_was_set(wrong: Wrong, journal: Path) -> None:
    """The finding counts traces of one process without another user, seconds before, and no nightly job."""
    with Book(journal) as book:
        book.add("nightly", "span", None, -60 * SECOND_MS, -59 * SECOND_MS)
        book.add("greeting", "span", None, -2 * SECOND_MS, -1 * SECOND_MS)
        book.add("lookup", "span", Session(None, "ada"), -1 * SECOND_MS, -500)
        book.add("other", "span", Session(None, "bob"), -1 * SECOND_MS, -500)
        guarding(book, Session("chat-1", "ada"), 0)
    found = only(wrong())
    assert found.said.startswith("2 traces were made just before the session chat-1 was set, and belong to none")
    assert found.cure == "Call set_session() before anything is traced."


def test_observations_that_are_damaged(wrong: Wrong, journal: Path) -> None:
    """How many of them, and what to do with the file."""
    record_well(journal)
    change(journal, "UPDATE spans SET body = x'ff' WHERE type = 'tool'")
    found = only(wrong())
    assert found.said == "2 observations are damaged, and left out of what is shown."
    assert f"move {journal} away" in str(found.cure)


@pytest.mark.parametrize(
    "node",
    [
        "SELECT json_extract(value, '$[1]') FROM spans, json_each(pieces) WHERE json_extract(value, '$[0]') >= 0",
        "SELECT json_extract(value, '$[1]') FROM spans, json_each(pieces) WHERE json_extract(value, '$[0]') = -2",
        "SELECT max(parent) FROM nodes",
        "SELECT max(copy_of) FROM nodes",
    ],
    ids=["the end of a text", "a dictionary", "the middle of a text", "a repeated part"],
)
def test_parts_of_texts_that_are_missing(wrong: Wrong, journal: Path, node: str) -> None:
    """Whichever part of a text was lost, the one finding says so."""
    text = "".join(f'{{"role":"user","content":"{number:0300d}"}},' for number in range(50))
    with Book(journal) as book:
        for number in range(6):
            page = f"[{text[: 2_000 * (number + 3)]}{text}]"
            book.add("model", "generation", Session("chat-1", "ada"), number * 10, number * 10 + 5, input=page)
    assert wrong() == []
    change(journal, f"DELETE FROM nodes WHERE id = ({node} LIMIT 1)")
    found = only(wrong())
    assert found.said.startswith(f"{journal} is damaged: ")
    assert found.said.endswith(" parts of observations are missing.")
    assert "sets the file aside" in str(found.cure)


def test_a_session_set_inside_of_a_trace(wrong: Wrong, journal: Path) -> None:
    """The trace begins in no session and goes on in one."""
    with Book(journal) as book:
        top = book.add("request", "span", None, 0, 500)
        book.add("herder", "agent", Session("chat-1", "ada"), 100, 400, top)
    found = only(wrong())
    assert found.said.startswith("1 trace has steps in a session, but began in none")
    assert "not inside of it" in str(found.cure)


def test_a_trace_in_two_sessions(wrong: Wrong, journal: Path) -> None:
    """The session was changed while the trace ran."""
    with Book(journal) as book:
        top = book.add("request", "span", Session("chat-1", "ada"), 0, 500)
        book.add("herder", "agent", Session("chat-2", "ada"), 100, 400, top)
    assert only(wrong()).said.startswith("1 trace belongs to several sessions at once")


def test_a_session_of_several_users(wrong: Wrong, journal: Path) -> None:
    """The id and the users are named."""
    record(journal)
    found = only(wrong())
    assert found.said == "The session session-1 has 2 users (carla,dave): their traces are mixed."
    assert "uuid" in str(found.cure)


def test_ids_that_are_almost_the_same(wrong: Wrong, journal: Path) -> None:
    """Upper case and spaces make other sessions."""
    with Book(journal) as book:
        guarding(book, Session("Chat-1", "ada"), 0)
        guarding(book, Session("chat -1", "ada"), 100_000)
    assert (
        only(wrong()).said
        == "The sessions Chat-1 and chat -1 differ in case or spaces only: they are not grouped together."
    )


def test_an_id_made_anew_with_each_message(wrong: Wrong, journal: Path) -> None:
    """One user with many sessions of one trace each; users who come back the next day are no fault."""
    with Book(journal) as book:
        for number in range(6):
            guarding(book, Session(f"daily-{number}", "bob"), number * 86_400 * SECOND_MS)
        for number in range(5):
            guarding(book, Session(f"chat-{number}", "ada"), number * 60 * SECOND_MS)
    found = only(wrong())
    assert found.said == "The user ada has 5 or more sessions of a single trace within minutes."
    assert "st.session_state" in str(found.cure)


def test_every_fault_of_a_check_is_a_finding(wrong: Wrong, journal: Path) -> None:
    """A journal without a column that a check needs stops that check only, and says which; its rows cannot be read."""
    record_well(journal)
    change(journal, "ALTER TABLE spans RENAME COLUMN user_id TO somebody")
    found = wrong()
    assert {"doctor", "journal"} == {finding.about for finding in found}
    assert any("grouping.several_users failed" in finding.said for finding in found)
