"""What the viewer answers, and to whom; the pages without a browser."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import tracemalloc
from pathlib import Path

import httpx
import pytest

from langfuse_integration import Session, langfuse_manager
from viewer.sample import Book, assistant, guarding, record, user
from web import get

PAGES = (
    "/",
    "/sessions/chat-3f2a91bc",
    "/sessions/chat-3f2a91bc?q=llama",
    "/untagged",
    "/nowhere",
    "/static/viewer.css",
)


def rows(text: str) -> list[str]:
    """Return the ids of the rows in a page."""
    return re.findall(r'<li class="row d\d+" id="o-([0-9a-f]{16})"', text)


def turns(text: str) -> list[str]:
    """Return the trace ids of the turns in a page."""
    return re.findall(r'<li class="turn" id="t-([0-9a-f]{32})"', text)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "", "evil@localhost"]
)
def test_a_foreign_host_is_refused(viewer: str, journal: Path, host: str) -> None:
    """A page elsewhere whose name was pointed to this machine gets 421 and nothing of a session."""
    record(journal)
    for path in PAGES:
        answer = get(viewer + path, headers={"Host": host})
        assert answer.status_code in (400, 421)
        assert "chat-3f2a91bc" not in answer.text


def test_this_machine_is_answered_by_all_its_names(viewer: str, journal: Path) -> None:
    """127.0.0.1, localhost in any spelling and ::1, with and without a port."""
    record(journal)
    for host in ("127.0.0.1", "localhost:9", "LocalHost", "[::1]:8123", "[::1]"):
        assert get(viewer, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_it_only_reads(viewer: str, journal: Path, method: str) -> None:
    """Every method but GET and HEAD is refused."""
    record(journal)
    answer = httpx.request(method, viewer + "/sessions/chat-3f2a91bc")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_looking_changes_nothing(viewer: str, journal: Path) -> None:
    """After every page has been asked for, the journal is byte for byte what it was."""
    record(journal)
    before = hashlib.sha256(journal.read_bytes()).hexdigest()
    for path in PAGES:
        get(viewer + path)
    assert hashlib.sha256(journal.read_bytes()).hexdigest() == before


def test_every_answer_is_locked_down(viewer: str, journal: Path) -> None:
    """No script but ours, no style but ours, no frame, no cache, no referrer; no inline script or style."""
    record(journal)
    for path in PAGES:
        answer = get(viewer + path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        if "text/html" in answer.headers["content-type"]:
            assert re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", answer.text) is None


def test_no_page_shows_a_key(viewer: str, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment are in no page."""
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-visible")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-hidden")
    record(journal)
    for path in PAGES:
        answer = get(viewer + path)
        assert "pk-lf-visible" not in answer.text + str(answer.headers)
        assert "sk-lf-hidden" not in answer.text + str(answer.headers)


def test_an_empty_journal_says_how_to_fill_it(viewer: str, journal: Path) -> None:
    """Without a file the list names it and the demo; once it is there, the same viewer shows it."""
    text = get(viewer).text
    assert "No sessions yet." in text
    assert str(journal) in text
    assert "langfuse-integration demo" in text
    record(journal)
    assert "chat-3f2a91bc" in get(viewer).text


def test_a_file_that_is_no_journal_says_so(viewer: str, journal: Path) -> None:
    """The page is a sentence, with the status of a fault of the server."""
    journal.write_bytes(b"no database at all " * 100)
    answer = get(viewer)
    assert answer.status_code == 500
    assert "cannot be read (file is not a database)" in answer.text


def test_what_is_damaged_is_left_out(viewer: str, journal: Path) -> None:
    """Pages of a session with rows that cannot be read any more show the others."""
    record(journal)
    with sqlite3.connect(journal) as db:
        db.execute("UPDATE spans SET body = x'ff' WHERE type = 'tool' OR session_id = 'chat-88d0e1f4'")
    db.close()
    page = get(viewer + "/sessions/chat-3f2a91bc")
    assert page.status_code == 200
    assert len(rows(page.text)) == 12 - 4  # each of its two turns has two tools
    for path in ("/", "/?q=llama", "/sessions/chat-88d0e1f4", "/sessions/chat-3f2a91bc?q=llama"):
        assert get(viewer + path).status_code == 200


def test_what_is_not_there_is_404(viewer: str, journal: Path) -> None:
    """Unknown sessions, traces, observations and addresses, and files outside of the static ones."""
    record(journal)
    for path in ("/sessions/none", "/traces/00", "/traces/00/00", "/traces/00?part=1", "/none", "/static/../app.py"):
        assert get(viewer + path).status_code == 404


def test_an_unknown_session_comes_with_the_nearest(viewer: str, journal: Path) -> None:
    """A link to each of the sessions whose ids are like it; none where no id is."""
    record(journal)
    page = get(viewer + "/sessions/chat-88d0e1f5").text
    assert '<a href="/sessions/chat-88d0e1f4">chat-88d0e1f4</a>' in page
    assert "nearest" not in get(viewer + "/sessions/~").text


def test_the_list_is_narrowed(viewer: str, journal: Path) -> None:
    """The list is filtered by text, user and errors; an empty list says so."""
    record(journal)

    def found(**asked: str) -> list[str]:
        return re.findall(r'<a class="go" href="/sessions/([^"]+)"', get(viewer, params=asked).text)

    assert found() == ["chat-3f2a91bc", "chat-88d0e1f4", "session-1", "research-51c7aa02"]
    assert found(user="bob") == ["chat-88d0e1f4"]
    assert found(q="trekking_with_llamas") == found(errors="1") == ["chat-3f2a91bc", "session-1"]
    assert found(q="trekking", user="bob") == []
    assert "No session matches." in get(viewer, params={"q": "zebra"}).text


def test_a_long_list_comes_in_pages(viewer: str, journal: Path) -> None:
    """Fifty to a page, with the filters kept in the links."""
    with Book(journal) as book:
        for number in range(70):
            book.add("turn", "span", Session(f"chat-{number}", "ada"), number, number + 1)
    first = get(viewer, params={"user": "ada"}).text
    assert len(re.findall('class="go"', first)) == 50
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    assert older == "/?user=ada&amp;page=1"
    second = get(viewer + older.replace("&amp;", "&")).text
    assert len(re.findall('class="go"', second)) == 20


@pytest.mark.parametrize("session_id", ["..", ".", "a/b", "a b?c#d&e=f", "日本 語", "%2e%2e", "x" * 200, "/", "<b>"])
def test_every_session_id_has_a_page(viewer: str, journal: Path, session_id: str) -> None:
    """The link in the list leads to it, whatever the id is made of; search and deep links stay in it."""
    with Book(journal) as book:
        guarding(book, Session(session_id, "ada"), 0)
    (link,) = re.findall(r'<a class="go" href="([^"]+)"', get(viewer).text)
    page = get(viewer + link.replace("&amp;", "&"))
    assert page.status_code == 200
    (trace_id,) = turns(page.text)
    answer = get(f"{viewer}/traces/{trace_id}", follow_redirects=True)
    assert answer.status_code == 200
    assert '<details class="steps" data-trace="' + trace_id + '" open' in answer.text


def test_a_trace_of_no_session_is_reached(viewer: str, journal: Path) -> None:
    """What belongs to no session has a page of its own, linked from the list."""
    record(journal)
    assert 'href="/untagged"' in get(viewer).text
    text = get(viewer + "/untagged").text
    assert "nightly_index" in text
    (trace_id,) = turns(text)
    assert get(f"{viewer}/traces/{trace_id}", follow_redirects=True).url.path == "/untagged"


def many(journal: Path, count: int) -> None:
    """Write one trace of *count* steps under a root."""
    session = Session("long", "ada")
    with Book(journal) as book:
        top = book.add(
            "herder", "agent", session, 0, count * 10, input={"messages": [user("All of it")]},
            output={"messages": [assistant("Done")]},
        )  # fmt: skip
        for number in range(count - 1):
            failed = {"level": "ERROR", "status_message": f"gone {number}"} if number == count * 7 // 10 else {}
            book.add(
                "step", "tool", session, number * 10 + 1, number * 10 + 9, top, input=number, output="x" * 300, **failed
            )


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_steps_in_one_trace_come_in_pages(count: int, viewer: str, journal: Path) -> None:
    """The session's page brings none of them, its tree 200 at a time; each is reached, and errors are named."""
    many(journal, count)
    page = get(viewer + "/sessions/long").text
    (trace_id,) = turns(page)
    assert rows(page) == []
    assert len(page) < 10_000
    assert f"{count:,} steps" in page
    assert f"gone {count * 7 // 10}" in page
    seen: list[str] = []
    for number in range(count // 200):
        part = get(f"{viewer}/traces/{trace_id}", params={"part": 1, "rows": number, "session": "long"}).text
        assert len(rows(part)) == 200
        seen += rows(part)
    assert len(set(seen)) == count
    (link,) = re.findall(r'<p class="trouble \w*">.*?<a href="([^"]+)"', page)
    at_error = get(viewer + link.replace("&amp;", "&")).text
    assert len(rows(at_error)) == 200
    assert re.search(r"#o-([0-9a-f]{16})", link)[1] in rows(at_error)  # type: ignore[index]


@pytest.mark.parametrize("count", [130, pytest.param(1_430, marks=pytest.mark.slow)])
def test_many_traces_come_in_pages(count: int, viewer: str, journal: Path) -> None:
    """Twenty turns to a page, and no turn is missing or twice."""
    session = Session("long", "ada")
    with Book(journal) as book:
        for number in range(count):
            guarding(book, session, number * 5_000)
    seen: list[str] = []
    for number in range(-(-count // 20)):
        seen += turns(get(viewer + "/sessions/long", params={"page": number}).text)
    assert len(seen) == len(set(seen)) == count
    assert turns(get(viewer + "/sessions/long", params={"page": 10**9}).text) == seen[-10:]


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_looking_again_and_again_keeps_nothing(count: int, viewer: str, journal: Path) -> None:
    """After the first looks at a session of many steps, further ones leave less than a megabyte behind."""
    many(journal, count)

    def look() -> None:
        page = get(viewer + "/sessions/long").text
        get(f"{viewer}/traces/{turns(page)[0]}", params={"part": 1, "rows": 20})
        get(viewer)

    tracemalloc.start()
    try:
        for _ in range(3):
            look()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            look()
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_long_text_is_shown_in_part_until_it_is_asked_for(viewer: str, journal: Path) -> None:
    """20,000 characters of a payload, and a link to all of it."""
    with Book(journal) as book:
        found = book.add("big", "span", Session("s"), 0, 1, input="a" * 50_000 + "END")
    address = f"{viewer}/traces/{found.trace_id}/{found.id}"
    part = get(address, params={"part": 1}).text
    assert "END" not in part
    assert "All 50,003 characters" in part
    assert "aaaEND" in get(address, params={"whole": 1}).text


def test_scores_stand_with_their_session(viewer: str, journal: Path) -> None:
    """A session's page names each score with its value and comment, as text; a score of a turn leads to it."""
    langfuse_manager.set_session("scored")
    with langfuse_manager.trace_span("turn") as turn:
        langfuse_manager.score("exact", True)
    langfuse_manager.score("helpful", 0.5, comment="<b>thanks</b>")
    assert langfuse_manager.flush(10).pending == 0
    page = get(viewer + "/sessions/scored").text
    (listed,) = re.findall(r'<ul class="scores".*?</ul>', page, re.DOTALL)
    assert f'<b>exact</b> yes <a href="#t-{turn.trace_id}">turn</a>' in listed
    assert "<b>helpful</b> 0.5 <span>&lt;b&gt;thanks&lt;/b&gt;</span>" in listed
    assert 'class="scores"' not in get(viewer + "/untagged").text


def test_a_fork_names_its_origin(viewer: str, journal: Path) -> None:
    """The page of a session that `lfi fork` made leads to the one that it comes from; other pages say nothing."""
    langfuse_manager.set_session("first")
    with langfuse_manager.trace_span("turn"):
        pass
    metadata = {"forked_from": "first", "forked_at": "step 2 (think <1> of herder)"}
    with langfuse_manager.session("first-fork", metadata=metadata), langfuse_manager.trace_span("turn"):
        pass
    assert langfuse_manager.flush(10).pending == 0
    page = get(viewer + "/sessions/first-fork").text
    link = 'Forked from <a href="/sessions/first">first</a> at step 2 (think &lt;1&gt; of herder).'
    assert link in page
    assert "Forked from" not in get(viewer + "/sessions/first").text
