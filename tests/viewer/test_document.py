"""The document that stands alone, exported and in a notebook, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import langfuse_integration
from commands import Lfi, record_turn
from fresh import run_fresh
from langfuse_integration import Session, langfuse_manager, show_session
from viewer.sample import Book, assistant, record, user

pytestmark = pytest.mark.browser
Opened = Callable[..., Any]
HOSTILE = "</style></script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"


def test_an_exported_session_stands_alone(journal: Path, tmp_path: Path, opened: Opened) -> None:
    """One file, styled, with everything in it: every input and output opens, and nothing is asked of anybody."""
    record(journal)
    target = tmp_path / "chat.html"
    done = Lfi()("export", "chat-3f2", "--html", str(target))
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(rf"chat-3f2a91bc written to {target} \(0\.1 MB\)\.\n", done.stderr)
    page = opened("about:blank")
    asked_for: list[str] = []
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(target.as_uri())
    assert asked_for == [target.as_uri()]
    assert page.locator("h1").inner_text() == "chat-3f2a91bc"
    assert page.locator(".bubble.user").count() == 2
    assert page.evaluate("getComputedStyle(document.querySelector('.bubble.user')).borderTopLeftRadius") == "14px"
    page.locator(".steps > summary").first.click()
    page.locator(".row > details > summary").nth(1).click()
    assert page.locator(".row").nth(1).locator(".said .who").all_inner_texts() == ["system", "user", "assistant"]
    assert page.locator("script, link, img, iframe, form").count() == 0
    assert {
        link[:1] for link in page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    } == {"#"}


def test_a_hostile_session_does_nothing_in_the_file(journal: Path, tmp_path: Path, opened: Opened) -> None:
    """Scripts in it are text; long texts are there in full."""
    with Book(journal) as book:
        book.add(HOSTILE, "agent", Session("s" + HOSTILE[:90], HOSTILE[:90]), 0, 1, input={"messages": [user(HOSTILE)]},
                 output={"messages": [assistant("a" * 50_000 + "END")]}, metadata={HOSTILE: HOSTILE})  # fmt: skip
    target = tmp_path / "s.html"
    Lfi().ok("export", "s", "--html", str(target))
    page = opened(target.as_uri())
    assert page.title().startswith("s</style></script>")
    assert page.locator("img, script").count() == 0
    assert HOSTILE in page.locator(".bubble.user .text").inner_text()
    assert target.read_text().count("aaaEND") > 0
    # What a browser would do if something had slipped through: the policy in the file forbids every script.
    assert "default-src &#39;none&#39;; style-src &#39;sha256-" in target.read_text()


def test_wrong_uses_of_export_are_sentences(journal: Path, tmp_path: Path) -> None:
    """Both forms at once is wrong usage; a place that cannot be written is exit code 1."""
    record(journal)
    both = Lfi()("export", "chat-3f2", "--html", "a.html", "-o", "a.json")
    assert both.returncode == 2
    assert "exclude each other" in both.stderr
    failed = Lfi()("export", "chat-3f2", "--html", str(tmp_path / "no" / "where.html"))
    assert failed.returncode == 1
    assert failed.stderr.endswith("where.html cannot be written: No such file or directory.\n")


def test_a_notebook_shows_the_active_session(opened: Opened) -> None:
    """show_session() waits for what was recorded, takes the active session, and is a frame without scripts."""
    record_turn("chat-1", "ada", answer=HOSTILE)
    record_turn("chat-2", "bob")
    with langfuse_manager.session("chat-1", "ada"):
        view = show_session()
    assert repr(view) == "<session chat-1: 1 trace>"
    page = opened("about:blank", complains=True)  # of the srcdoc that it has no scripts to run
    page.set_content(f"<h2>Notebook</h2>{view._repr_html_()}")
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").inner_text() == "chat-1"
    assert frame.locator(".bubble.user .text").inner_text() == "What do llamas eat?"
    frame.locator(".steps > summary").click()
    frame.locator(".row > details > summary").nth(2).click()
    assert "hay" in frame.locator(".row").nth(2).locator("pre, .said").last.inner_text()
    assert frame.locator("img, script").count() == 0
    assert page.title() == ""
    assert page.locator("h2").evaluate("one => getComputedStyle(one).fontFamily") != frame.locator("h1").evaluate(
        "one => getComputedStyle(one).fontFamily"
    )


def test_without_an_active_session_it_is_the_newest(journal: Path) -> None:
    """Or the one that is named; what is not there is a sentence."""
    assert repr(show_session()) == "There is no session yet."
    record_turn("chat-1", "ada")
    record_turn("chat-2", "ada")
    assert repr(show_session()) == "<session chat-2: 1 trace>"
    assert repr(show_session("chat-1")) == "<session chat-1: 1 trace>"
    missing = show_session("<b>none</b>")
    assert repr(missing) == "Nothing is recorded of the session <b>none</b>."
    assert missing._repr_html_() == "<p>Nothing is recorded of the session &lt;b&gt;none&lt;/b&gt;.</p>"


def test_a_long_session_is_cut_for_a_notebook(journal: Path) -> None:
    """What is left out is said: turns, steps, the ends of long texts; an exported file has them all."""
    session = Session("long", "ada")
    with Book(journal) as book:
        for turn in range(103):
            top = book.add(
                "herder", "agent", session, turn * 10, turn * 10 + 9, input="a" * 30_000 if not turn else "a"
            )
            for step in range(300 if turn == 1 else 1):
                book.add("step", "tool", session, turn * 10 + step / 100, turn * 10 + 9, top)
    shown = show_session("long")._repr_html_()
    assert "3 more turns left out here." in shown
    assert "101 more steps left out here." in shown
    assert "Cut here: it has 30,000 characters." in shown


def test_it_costs_nothing_to_have_it() -> None:
    """Importing the package loads neither templates nor the viewer."""
    loaded = "[name for name in sys.modules if 'jinja2' in name or 'viewer' in name]"
    said = run_fresh(f"import sys, langfuse_integration; print({loaded})")
    assert said.strip() == "[]"
    assert "show_session" in langfuse_integration.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        langfuse_integration.nothing  # noqa: B018
