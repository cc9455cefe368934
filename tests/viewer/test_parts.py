"""The parts that pages are made of: trees, sums, texts, the stream of changes."""

from __future__ import annotations

import html
import re
import sqlite3
from pathlib import Path

import httpx
from hypothesis import given
from hypothesis import strategies as some

from langfuse_integration import Session
from langfuse_integration.reading.archive import Archive
from langfuse_integration.reading.totals import Totals
from langfuse_integration.reading.totals_cache import RowsVersion, TotalsCache
from langfuse_integration.viewer.events import LISTENERS_LIMIT
from langfuse_integration.viewer.formatting import coloured_json, exchange, pretty, shown
from langfuse_integration.viewer.outline import outline
from peers.waiting import until
from viewer.sample import Book, record

SESSION = Session("s", "ada")

values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_colours_change_no_character(value: object) -> None:
    """Without its tags, a coloured value is what it was, with what nobody sees written out."""
    marked = str(coloured_json(value))
    assert html.unescape(re.sub(r'<i class="j-\w+">|</i>', "", marked)) == shown(pretty(value))


@given(some.text())
def test_nothing_unseen_is_left(text: str) -> None:
    """Controls, marks of direction and lone surrogates are written out; line breaks and tabs stay."""
    assert (
        re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown(text))
        is None
    )
    assert [part for part in shown(text) if part in "\n\t"] == [part for part in text if part in "\n\t"]


def test_a_tree_stands_in_its_order(journal: Path) -> None:
    """Children under their parents by their starts; a parent of elsewhere makes a root; each row once."""
    with Book(journal) as book:
        top = book.add("top", "agent", SESSION, 0, 100)
        late = book.add("late", "tool", SESSION, 50, 60, top)
        early = book.add("early", "tool", SESSION, 10, 90, top)
        book.add("inner", "span", SESSION, 55, 56, early)
        elsewhere = book.add("elsewhere", "span", None, 1, 2)
    names = {late.id: "late", early.id: "early", top.id: "top", elsewhere.id: "elsewhere"}
    with Archive(journal) as archive:
        found = outline(archive, top.trace_id)
    assert found is not None
    assert [(names.get(line.span_id, "other"), line.depth) for line in found.lines] == [
        ("top", 0), ("early", 1), ("other", 2), ("late", 1),
    ]  # fmt: skip


def test_a_knot_of_parents_is_shown_all_the_same(journal: Path) -> None:
    """Rows that are each other's parents, as only a damaged journal holds them, are roots."""
    with Book(journal) as book:
        one = book.add("one", "span", SESSION, 0, 10)
        two = book.add("two", "span", SESSION, 1, 9, one)
    with sqlite3.connect(journal) as db:
        db.execute("UPDATE spans SET parent_id = ? WHERE span_id = ?", (two.id, one.id))
    db.close()
    with Archive(journal) as archive:
        found = outline(archive, one.trace_id)
    assert found is not None
    assert sorted(line.span_id for line in found.lines) == sorted([one.id, two.id])


def test_sums_are_remembered_until_there_is_more() -> None:
    """Totals of unchanged rows are computed once; at the limit the least recently used entry is evicted."""
    counted: list[str] = []
    memory = TotalsCache(limit=2)

    def ask(key: str, rows: RowsVersion) -> Totals:
        return memory.of(key, rows, lambda: counted.append(key) or Totals(tokens=len(counted)))  # type: ignore[func-returns-value]

    assert [ask("a", RowsVersion(1, 1)), ask("a", RowsVersion(1, 1))] == [Totals(tokens=1)] * 2
    assert ask("a", RowsVersion(2, 5)) == Totals(tokens=2)
    ask("b", RowsVersion(1, 1))
    ask("a", RowsVersion(2, 5))
    ask("c", RowsVersion(1, 1))
    assert len(memory) == 2
    ask("a", RowsVersion(2, 5))
    assert counted == ["a", "a", "b", "c"]


def test_a_session_is_added_up_anew_when_it_grows(journal: Path) -> None:
    """What comes in counts at once, and what is pruned counts no more."""
    with Book(journal) as book, Archive(journal) as archive:
        sums = []
        for number in range(3):
            book.add("model", "generation", SESSION, number, number + 1, usage_details={"input": 10, "output": 1})
            book.write()
            archive.refresh()
            found = archive.session("s")
            assert found is not None
            sums.append(found.totals.tokens)
    assert sums == [11, 22, 33]


def test_the_stream_is_for_a_bounded_number_of_pages(viewer: str, journal: Path) -> None:
    """One more than that is told to come later, and is let in when somebody has gone."""
    record(journal)
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=viewer, limits=limits, timeout=30) as client:
        streams = [client.send(client.build_request("GET", "/events"), stream=True) for _ in range(LISTENERS_LIMIT)]
        lines = [stream.iter_lines() for stream in streams]  # kept: httpx closes a stream with its iterator
        assert {next(one) for one in lines} == {"retry: 2000"}
        assert client.get("/events").status_code == 503
        for stream in streams:
            stream.close()

    def let_in() -> bool:
        with httpx.stream("GET", viewer + "/events") as again:
            return again.status_code == 200

    until(let_in)


def test_a_tools_row_has_what_went_in_and_what_came_out(journal: Path) -> None:
    """Long arguments leave room for the result; a failure has its message, and any other step its result."""
    record(journal)
    with Archive(journal) as archive:
        rows = [exchange(each) for each in archive.replay("chat-3f2a91bc").observations if each.type == "tool"]
    assert rows[0].startswith('query="guard llama dogs" → guard_llamas.md')
    with Book(journal) as book:
        command = {"update": {"messages": [{"role": "tool", "content": "Hay.", "tool_call_id": "t1"}]}}
        book.add("task", "tool", SESSION, 0, 10, input={"description": "word " * 100}, output=command)
        book.add("shear", "tool", SESSION, 20, 30, input={"name": "Dolly"}, level="ERROR", status_message="no shears")
        book.add("wait", "tool", SESSION, 40, 50, input={"s": 3})
        book.add("now", "tool", SESSION, 60, 70, output="noon")
    with Archive(journal) as archive:
        written = {each.name: exchange(each) for each in archive.replay("s").observations}
    assert written["task"].endswith("w… → Hay.")
    assert (written["shear"], written["wait"], written["now"]) == ("no shears", "s=3", "noon")
