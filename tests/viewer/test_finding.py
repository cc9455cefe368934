"""Pages that help to find something: the order of the list, the filter of the steps, the graph of agents and tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from langfuse_integration import Session
from langfuse_integration.reading.archive import Archive
from langfuse_integration.viewer.agent_graph import graph_of
from langfuse_integration.viewer.app import application
from viewer.sample import Book, act, assistant, record, think, user

TAG = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
HOSTILE = TAG + "\u202e"
ADA = Session("s", "ada", tags=("beta", TAG))


def page(journal: Path, address: str) -> str:
    """Return a page's HTML."""
    with TestClient(application(journal), base_url="http://127.0.0.1") as client:
        answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def names(html: str) -> list[str]:
    """Return the names of the steps that a filter found."""
    return re.findall(r'<span class="name">([^<]*)</span>', html)


def test_the_list_can_be_put_in_order(journal: Path) -> None:
    """By default the newest is first; a column's link puts the largest first and keeps the filter."""
    with Book(journal) as book:
        for number, (steps, took) in enumerate([(1, 900), (3, 10), (2, 50)]):
            for step in range(steps):
                book.add("x", "span", Session(f"s{number}"), number * 1_000 + step, number * 1_000 + took, input="x")
    assert re.findall(r'class="go" href="/sessions/(s\d)"', page(journal, "/")) == ["s2", "s1", "s0"]
    assert re.findall(r'class="go" href="/sessions/(s\d)"', page(journal, "/?sort=steps")) == ["s1", "s2", "s0"]
    by_time = page(journal, "/?sort=lasted&q=x")
    assert re.findall(r'class="go" href="/sessions/(s\d)"', by_time) == ["s0", "s2", "s1"]
    assert 'href="/?q=x&amp;sort=cost"' in by_time
    assert by_time.count('aria-sort="descending"') == 1
    assert re.findall(r'class="go" href="/sessions/(s\d)"', page(journal, "/?sort=nonsense")) == ["s2", "s1", "s0"]


def test_the_list_says_what_a_session_is_about(journal: Path) -> None:
    """The first question, the last answer and the tags are in a session's row, and text of any kind stays text."""
    with Book(journal) as book:
        for at, question, answer in ((0, "First?", "One."), (20, "Second?", HOSTILE)):
            values: dict[str, Any] = {
                "input": {"messages": [user(question)]},
                "output": {"messages": [assistant(answer)]},
            }
            book.add("herder", "agent", ADA, at, at + 10, **values)
    html = page(journal, "/")
    assert "First?" in html
    assert "Second?" not in html
    assert "One." not in html
    assert '<span class="tag"><span class="sr">tag </span>beta</span>' in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "<script>alert" not in html
    assert "<img" not in html
    assert "\u202e" not in html


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("kind=think", ["gpt-5-mini"] * 5),
        ("kind=act", ["search", "read", "read", "search"]),
        ("kind=retriever", ["library"]),
        ("kind=error", ["read"]),
        ("kind=act&tool=read", ["read", "read"]),
        ("tool=llama-mcp.search", ["search", "search"]),
        ("agent=HERDER&kind=error", ["read"]),
        ("agent=nobody", []),
        ("kind=act&q=no+article", ["read"]),
    ],
)
def test_the_steps_of_a_session_are_filtered(journal: Path, query: str, expected: list[str]) -> None:
    """By kind, agent, tool and text, in the order of their starts; nothing else is listed."""
    record(journal)
    assert names(page(journal, f"/sessions/chat-3f2a91bc?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("agent=Stra%C3%9Fe", ["a", "b"]),
        ("agent=STRASSE", ["a", "b"]),
        ("agent=Kelvin+5", ["c"]),
        ("tool=se.rver.t%C3%BCr", ["t\u00fcr"]),
        ("tool=T%C3%9CR", ["t\u00fcr"]),
        ("q=T%C3%9CR", ["t\u00fcr"]),
        ("q=strasse", ["a", "b", "d"]),
        ("q=say+%22hi%22", ["d"]),
        ("kind=act", ["t\u00fcr", "open"]),
        ("tool=open", ["open"]),
    ],
)
def test_a_filter_finds_names_in_any_letters(journal: Path, query: str, expected: list[str]) -> None:
    """Upper and lower case are the same in any alphabet, quotes are found in JSON, and steps that run are found too."""
    act_data = {"step_type": "act"}
    with Book(journal) as book:
        for at, name, agent in ((0, "a", "Stra\u00dfe"), (10, "b", "STRASSE"), (20, "c", "\u212aelvin 5")):
            book.add(name, "span", ADA, at, at + 5, metadata={"agent_name": agent})
        book.add("d", "span", ADA, 30, 35, input={"text": 'stra\u00dfe, say "hi"'})
        called = {**act_data, "mcp_server": "se.rver", "mcp_tool": "t\u00fcr"}
        book.add("se.rver.t\u00fcr", "tool", ADA, 40, 45, metadata=called)
        book.add("open", "tool", ADA, 50, None, metadata=act_data)
    assert names(page(journal, f"/sessions/s?{query}")) == expected


def test_a_filter_by_ids_finds_them(journal: Path) -> None:
    """An id is text for people, and bytes in the journal."""
    with Book(journal) as book:
        step = book.add("a", "span", ADA, 0, 5)
        book.add("b", "span", ADA, 10, 15)
    assert names(page(journal, f"/sessions/s?q={step.id[3:11].upper()}")) == ["a"]


def test_names_in_the_filter_and_the_graph_are_text(journal: Path) -> None:
    """Agents and tools may be called anything."""
    with Book(journal) as book:
        root = book.add(HOSTILE, "agent", ADA, 0, 100, input="x")
        book.add(HOSTILE, "tool", ADA, 10, 20, root, input={}, level="ERROR", status_message="no")
    with Archive(journal) as archive:
        (trace_id,) = archive.trace_ids("s")
    for address in ("/sessions/s", "/sessions/s?kind=error", f"/traces/{trace_id}/graph?session=s"):
        html = page(journal, address)
        assert "&lt;script&gt;" in html
        assert "<script>alert" not in html
        assert "<img" not in html
        assert "\u202e" not in html


def test_the_graph_counts_calls_by_agent_and_tool(journal: Path) -> None:
    """A wrapper's call and the call over MCP below it are one; a failed tool is marked; thinks tell who came next."""
    with Book(journal) as book:
        root = book.add("boss", "agent", ADA, 0, 1_000, input="x")
        thinking = {**think(1), "agent_name": "boss"}
        book.add("Chat", "generation", ADA, 10, 20, root, input="x", output="y", metadata=thinking)
        helper = book.add("helper", "agent", ADA, 30, 500, root, input="x")
        thinking = {**think(1, "c1"), "agent_name": "helper"}
        decided = book.add("Chat", "generation", ADA, 40, 50, helper, input="x", output="y", metadata=thinking)
        for at in (60, 80):
            outer = book.add("search", "tool", ADA, at, at + 10, helper, input={}, metadata={"agent_name": "helper"})
            metadata = {**act(1, decided, "c1", tool="search"), "agent_name": "helper"}
            book.add("search", "tool", ADA, at + 1, at + 9, outer, input={}, metadata=metadata, level="ERROR")
    with Archive(journal) as archive:
        (trace,) = archive.traces("s")
    graph = graph_of(trace)
    assert [(node.name, node.note) for node in graph.agents] == [("boss", "1 think"), ("helper", "1 think")]
    assert [(node.name, node.note, node.failed) for node in graph.tools] == [("llama-mcp.search", "2 calls", True)]
    assert [(edge.title, edge.number) for edge in graph.calls] == [("helper calls llama-mcp.search", 2)]
    assert [(edge.title, edge.number) for edge in graph.turns] == [("boss, then helper", 1)]
    html = page(journal, f"/traces/{trace.id}/graph")
    assert html.count("<path d=") == 3
    assert " style=" not in html
