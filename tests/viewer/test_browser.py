"""The viewer in a real Chromium: the list, the replay, search, live update, keys, and payloads that mean harm."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from langfuse_integration import Session
from photographs import photograph
from viewer.conftest import REBOUND
from viewer.sample import Book, act, assistant, call, guarding, record, running, think, user

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.application]
ROW = ".row > details > summary"
Opened = Callable[..., Any]


def texts(page: Page, selector: str) -> list[str]:
    """Return what is to be read in all elements of a kind."""
    return [re.sub(r"\s+", " ", text).strip() for text in page.locator(selector).all_inner_texts()]


def settle(page: Page, condition: str, argument: object = None) -> None:
    """Wait until a condition in JavaScript holds; Playwright's own wait needs `eval`, which the pages forbid."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, f"not within 15 s: {condition}"
        page.wait_for_timeout(20)


def test_the_list_leads_to_a_replay(viewer: str, journal: Path, opened: Opened) -> None:
    """A row says who, how long, how much and what went wrong; a click on it opens the conversation."""
    record(journal)
    page = opened(viewer)
    assert texts(page, "thead th") == [
        "Session", "User", "Started", "Lasted", "Traces", "Steps", "Tokens", "Cost", "State",
    ]  # fmt: skip
    first = texts(page, "tbody tr")[0]
    words = r"chat-3f2a91bc Would a llama guard my sheep against dogs\? .+"
    assert re.fullmatch(words + r" ada [\d-]+ [\d:]+ 46\.6 s 2 12 5,502 \$0\.0137 1 error", first), first
    assert "users mixed" in texts(page, "tbody tr")[2]
    photograph(page, "sessions")
    page.get_by_role("link", name="chat-3f2a91bc").click()
    assert texts(page, "h1") == ["chat-3f2a91bc"]
    assert texts(page, ".turn .bubble .who") == ["ada", "herder", "ada", "herder"]
    assert texts(page, ".turn .bubble .text")[0] == "Would a llama guard my sheep against dogs?"
    assert texts(page, ".trouble") == [
        "recovered herder > llama-mcp.read tool_error: no article trekking.md; did you mean trekking_with_llamas.md?"
    ]
    photograph(page, "session")


def test_a_turn_opens_into_its_tree_and_a_step_into_all_that_is_known(
    viewer: str, journal: Path, opened: Opened
) -> None:
    """The tree stands in its order with think, act, MCP server, time and tokens; a step shows its input as chat."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc")
    page.locator(".steps > summary").first.click()
    tree = page.locator(".turn").first
    kinds = tree.locator(".row .kind")
    assert kinds.all_inner_texts() == ["agent", "think 1", "act 1", "think 2", "act 2", "retriever", "think 3"]
    assert tree.locator(".row .server").all_text_contents() == ["MCP server llama-mcp", "MCP server llama-mcp"]
    assert tree.locator(".row .took").all_inner_texts() == [
        "3.90 s",
        "1.10 s",
        "270 ms",
        "820 ms",
        "420 ms",
        "320 ms",
        "1.14 s",
    ]
    bars = [
        [float(bar.get_attribute(name).rstrip("%")) for name in ("x", "width")]
        for bar in tree.locator(".bar rect:not(.track)").all()
    ]
    assert bars[0] == [0, 100]
    assert bars[1][0] + bars[1][1] <= bars[2][0] < bars[3][0] < bars[4][0] < bars[5][0]
    tree.locator(ROW).nth(1).click()
    detail = tree.locator(".row").nth(1).locator(".detail")
    detail.wait_for()
    assert detail.locator(".said .who").all_inner_texts() == ["system", "user", "assistant"]
    assert detail.locator(".call").all_text_contents() == ['→calls search(query="guard llama dogs")']
    assert "gpt-5-mini" in detail.locator(".facts").inner_text()
    tree.locator(ROW).nth(5).click()
    document = tree.locator(".row").nth(5).locator(".documents li")
    document.wait_for()
    assert document.inner_text() == "[0.93] One gelded llama bonds with a flock."
    tree.locator(".row").nth(5).locator(".raw > summary").last.click()
    retrieved = tree.locator(".row").nth(5).locator("pre").last
    retrieved.wait_for()
    assert retrieved.locator(".j-word").all_inner_texts() == ["null", "true"]
    assert retrieved.locator(".j-number").all_inner_texts() == ["0.93", "2"]
    tree.locator(ROW).nth(5).click()
    page.locator(".steps > summary").first.scroll_into_view_if_needed()
    photograph(page, "steps")


def test_an_act_leads_to_its_think(viewer: str, journal: Path, opened: Opened) -> None:
    """The think lights up while the act has the pointer or the focus, and the act's link goes there."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc")
    page.locator(".steps > summary").first.click()
    think_row, act_row = page.locator(".row").nth(3), page.locator(".row").nth(4)
    act_row.locator("summary").hover()
    assert "lit" in think_row.get_attribute("class").split()
    page.mouse.move(0, 0)
    assert "lit" not in think_row.get_attribute("class").split()
    act_row.locator("summary").first.focus()
    assert "lit" in think_row.get_attribute("class").split()
    assert act_row.locator(".answers").inner_text() == "↖ think 2"
    act_row.locator(".answers").click()
    assert page.url.endswith("#" + think_row.get_attribute("id"))
    assert not act_row.locator("details").evaluate("one => one.open")
    settle(page, "id => !!document.querySelector(`#${id} .detail`)", think_row.get_attribute("id"))


def test_search_leads_to_the_step(viewer: str, journal: Path, opened: Opened) -> None:
    """What was searched for is marked in what was found, and a hit opens the turn and the step."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc")
    page.keyboard.press("/")
    page.keyboard.type("DID YOU MEAN")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]q="))
    assert texts(page, "h1") == ["“DID YOU MEAN”"]
    assert texts(page, "mark") == ["did you mean"]
    photograph(page, "search")
    page.locator(".hits .go").click()
    page.locator(".row .detail").wait_for()
    assert page.locator(".row:target .status").inner_text().startswith("ERROR tool_error: no article")


def test_what_is_recorded_meanwhile_appears(viewer: str, journal: Path, opened: Opened) -> None:
    """A running turn grows while it is looked at; what was opened stays open and the page does not jump."""
    record(journal)
    with Book(journal) as book:
        for turn in range(6):
            guarding(book, Session("chat-live", "erin"), turn * 10_000)
        top = running(book)
        page = opened(viewer + "/sessions/chat-live")
        last = page.locator(".turn").last
        assert last.locator("header .level.live").inner_text() == "running"
        assert last.locator(".bubble.agent .dots").count() == 1
        last.locator(".steps > summary").click()
        last.locator(ROW).nth(1).click()
        last.locator(".row .detail").first.wait_for()
        last.locator(ROW).nth(1).focus()
        photograph(page, "running")
        place = page.evaluate("scrollY")
        assert place > 0
        one = book.add("search", "tool", top.session, 101_100, 101_400, top, input={"query": "food"}, output="hay")
        book.write()
        settle(page, "document.querySelectorAll('.turn:last-child .row').length === 3")
        assert last.locator("[data-row]").nth(1).evaluate("one => one.open")
        assert last.locator(".row .detail").count() == 1
        assert page.evaluate("document.activeElement.closest('.row').id") == last.locator(".row").nth(1).get_attribute(
            "id"
        )
        assert page.evaluate("scrollY") == place
        book.end(top, 102_000, output={"messages": [assistant("Hay, mostly.")]})
        settle(page, "document.querySelector('.turn:last-child .bubble.agent .text').innerText === 'Hay, mostly.'")
        assert last.locator(".level.live").count() == 0
        assert last.locator(f"#o-{one.id}").count() == 1
        guarding(book, Session("chat-live", "erin"), 200_000)
        book.write()
        settle(page, "document.querySelectorAll('.turn').length === 8")
        assert page.locator(".turn").nth(6).locator(".row .detail").count() == 1
        assert page.evaluate("scrollY") == place


def test_new_sessions_appear_in_the_list(viewer: str, journal: Path, opened: Opened) -> None:
    """The list takes up a session that begins while it is looked at, and says that it runs."""
    page = opened(viewer)
    assert "No sessions yet." in page.locator("main").inner_text()
    with Book(journal) as book:
        running(book)
        page.locator(".sessions .level.live").wait_for()
        assert texts(page, "tbody th .go") == ["chat-live"]
        assert texts(page, "tbody th .words") == ["What do llamas eat?"]


def test_dark_and_light_follow_the_system(viewer: str, journal: Path, opened: Opened) -> None:
    """With a dark scheme the page is dark; the text stands out in both, everywhere by 4.5 to 1 or more."""
    record(journal)
    for dark in (False, True):
        page = opened(viewer + "/sessions/chat-3f2a91bc", dark=dark)
        for summary in page.locator(".steps > summary").all():
            summary.click()
        for row in page.locator(ROW).all():
            row.click()
        settle(page, "!document.querySelector('.row details[open] .ask')")
        lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0] * 1")
        assert lightness < 60 if dark else lightness > 200
        assert page.evaluate(CONTRAST) == []
        if dark:
            page.evaluate("scrollTo(0, 0)")
            photograph(page, "dark")
        listed = opened(viewer, dark=dark)
        assert listed.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const found = colour(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0.99) return found;
    }
    return [255, 255, 255];
  };
  const weak = [];
  for (const one of document.querySelectorAll("body *")) {
    const said = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!said || !one.checkVisibility() || one.closest(".sr, dialog, .skip")) continue;
    const a = light(colour(getComputedStyle(one).color)), b = light(behind(one));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${one.className || one.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(weak)];
}"""

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "</pre></details><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "null\x00 bell\x07 escape\x1b[31m",
    "\u202egnp.exe\u2066 zero\u200bwidth",
    "]]>--><!--",
    "&lt;b&gt;",
    "'; DROP TABLE spans; --",
    "lone \ud800 surrogate",
]


def test_hostile_payloads_are_text(viewer: str, journal: Path, opened: Opened) -> None:
    """Scripts, addresses that are scripts, nulls and marks that turn the text around, everywhere: shown, not obeyed."""
    everything = "".join(HOSTILE)
    printable = everything.translate(dict.fromkeys((0, 7, 27, 0x202E, 0x2066, 0x200B, 0xD800)))
    session = Session("s" + printable[:150], "u'\"><b>")
    answer = assistant(everything, call(everything, "1", query=everything))
    status: dict[str, Any] = {"level": "ERROR", "status_message": everything}
    with Book(journal) as book:
        asked = {"messages": [user(everything)]}
        top = book.add(everything, "agent", session, 0, 100, input=asked, output={"messages": [assistant(everything)]})
        told = {**think(1), "step_index": everything}
        said = [{"role": everything, "content": everything}]
        decided = book.add(
            everything, "generation", session, 1, 40, top, input=said, output=answer, metadata=told, model=everything
        )
        told = {**act(1, decided, "1", everything, everything), everything: None, "think_id": 'x" onclick="alert(1)'}
        book.add(
            everything,
            "tool",
            session,
            50,
            90,
            top,
            input={everything: [None]},
            output=everything,
            metadata=told,
            **status,
        )
    page = opened(viewer)
    page.locator("tbody .go").click()
    page.locator(".steps > summary").click()
    for row in page.locator(ROW).all():
        row.click(position={"x": 5, "y": 5})
    settle(page, "document.querySelectorAll('.row .detail').length === 3")
    for summary in page.locator(".detail details > summary").all():
        summary.click()
    assert (
        page.locator(
            "main script, main img, main iframe, main [onerror], main [onload], main [onclick], main b b"
        ).count()
        == 0
    )
    links = page.locator("a").evaluate_all("all => all.map((one) => one.protocol)")
    assert set(links) == {"http:"}
    question = page.locator(".bubble.user .text").inner_text()
    assert "<script>alert(1)</script>" in question
    assert "null␀ bell␇ escape␛[31m" in question
    assert r"\u202egnp.exe\u2066 zero\u200bwidth" in question
    assert "{{ 7 * 7 }}{% raw %}" in question
    whole = page.content()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e\u2066-\u2069]", whole)
    page.goto(viewer + "/?q=" + "%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.locator("tbody .go").count() == 1
    assert page.locator("input[name=q]").input_value() == "<script>alert(1)</script>"
    page.locator("tbody .go").click()
    page.locator("[data-search]").fill("</script><img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"[?&]q="))
    assert page.locator("main img").count() == 0


def test_a_page_elsewhere_cannot_frame_or_read_it(viewer: str, journal: Path, opened: Opened) -> None:
    """A script of another origin gets no answer to read, and a frame there stays empty."""
    record(journal)
    page = opened(f"data:text/html,<title>elsewhere</title><iframe src='{viewer}'></iframe>", complains=True)
    assert page.frames[1].url == "chrome-error://chromewebdata/"
    assert "chat-3f2a91bc" not in page.frames[1].content()
    read = page.evaluate(
        "address => fetch(address, {mode: 'no-cors'}).then((one) => one.type, () => 'refused')", viewer
    )
    assert read == "refused"


def test_a_name_that_was_pointed_here_is_refused(viewer: str, journal: Path, opened: Opened) -> None:
    """A page whose own name leads to this machine gets neither the list nor a session, by navigation or by script."""
    record(journal)
    port = viewer.rpartition(":")[2]
    page = opened(f"http://{REBOUND}:{port}/sessions/chat-3f2a91bc", complains=True)
    refusal = "This viewer answers to 127.0.0.1 and localhost only."
    assert page.locator("body").inner_text() == refusal
    assert page.evaluate("fetch('/').then((one) => one.text())") == refusal


def follow(page: Page, link: str) -> None:
    """Click a link, and wait until all of the next page is there."""
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("link", name=link).click()


def test_everything_is_reached_without_javascript(viewer: str, journal: Path, opened: Opened) -> None:
    """Links instead of fetches: list, session, turn, step, and the pages of a long tree."""
    record(journal)
    session = Session("long", "ada")
    with Book(journal) as book:
        top = book.add("herder", "agent", session, 0, 5_000, input={"messages": [user("All")]})
        for number in range(300):
            book.add("step", "tool", session, number * 10 + 1, number * 10 + 9, top, input=number, output="done")
    page = opened(viewer, javascript=False)
    page.locator("a.go", has_text="chat-3f2a91bc").click()
    page.locator(".steps > summary").first.click()
    page.locator(ROW).nth(1).click()
    page.locator(".row").nth(1).locator(".ask a").click()
    assert texts(page, "h1") == ["ChatModel think 1"]
    assert page.locator(".said .who").all_inner_texts() == ["system", "user", "assistant"]
    photograph(page, "step")
    page.get_by_role("link", name="chat-3f2a91bc").click()
    assert page.locator("details.steps").first.evaluate("one => one.open")
    page.goto(viewer + "/sessions/long")
    page.locator(".steps > summary").click()
    follow(page, "Show 301 steps")
    assert page.locator(".row").count() == 200
    follow(page, "101 more steps")
    assert page.locator(".row").count() == 101
    follow(page, "The 200 steps before these")
    assert page.locator(".row").count() == 200
    assert page.locator("[data-help]").is_hidden()


def test_more_steps_are_appended_in_place(viewer: str, journal: Path, opened: Opened) -> None:
    """With JavaScript a long tree grows in the page; a live update leaves what was loaded."""
    session = Session("long", "ada")
    with Book(journal) as book:
        top = book.add("herder", "agent", session, 0, 5_000, input={"messages": [user("All")]})
        for number in range(450):
            book.add("step", "tool", session, number * 10 + 1, number * 10 + 9, top, input=number, output="done")
        book.write()
        page = opened(viewer + "/sessions/long")
        page.locator(".steps > summary").click()
        page.locator(".row").first.wait_for()
        page.locator(".more a").click()
        settle(page, "document.querySelectorAll('.row').length === 400")
        assert page.locator(".more").inner_text() == "51 more steps"
        book.add("late", "tool", session, 4_900, 4_910, top)
        book.write()
        settle(page, "document.querySelector('.steps .count').innerText === '452 steps'")
        assert page.locator(".row").count() == 400
        page.locator(".more a").click()
        settle(page, "document.querySelectorAll('.row').length === 452")
        assert page.locator(".more").count() == 0


def test_keys_move_open_and_explain(viewer: str, journal: Path, opened: Opened) -> None:
    """j and k go along, Enter opens, / searches, ? explains, Escape closes; while one types they are letters."""
    record(journal)
    page = opened(viewer)
    for key in ("j", "j", "j", "k"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.innerText") == "chat-88d0e1f4"
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    photograph(page, "keys")
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    page.keyboard.press("/")
    page.keyboard.type("jk?")
    assert page.locator("input[name=q]").input_value() == "jk?"
    page.goto(viewer + "/sessions/chat-3f2a91bc")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    assert page.locator("details.steps").first.evaluate("one => one.open")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator(".row .detail").wait_for()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_pages_are_built_for_screen_readers(viewer: str, journal: Path, opened: Opened) -> None:
    """One h1, headings without a gap, every control named, a way past the header, a language."""
    record(journal)
    for path in ("/", "/sessions/chat-3f2a91bc", "/sessions/chat-3f2a91bc?q=llama", "/nowhere"):
        page = opened(viewer + path) if path != "/nowhere" else None
        if page is None:
            continue
        assert page.locator("h1").count() == 1
        levels = [
            int(level[1])
            for level in page.locator("h1, h2, h3, h4").evaluate_all(
                "all => all.filter((one) => !one.closest('dialog')).map((one) => one.tagName)"
            )
        ]
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels
        assert page.locator("html").get_attribute("lang") == "en"
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input, button, a, summary')].filter((one) => one.checkVisibility() &&"
            " !(one.innerText.trim() || one.labels?.length || one.ariaLabel)).map((one) => one.outerHTML)"
        )
        assert unnamed == []
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"


def test_a_narrow_window_scrolls_down_only(viewer: str, journal: Path, opened: Opened) -> None:
    """On a phone's width nothing sticks out at the side."""
    record(journal)
    for path in ("/", "/sessions/chat-3f2a91bc"):
        page = opened(viewer + path, width=390)
        if path != "/":
            page.locator(".steps > summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        photograph(page, "narrow" if path != "/" else "narrow-sessions")


NARROW = 375
OVERLAPPING = """() => {
    const visible = ([, box]) => box.width && box.height > 2;
    const parts = row => [...row.querySelectorAll('.what > *, .took, .brief')]
        .map(part => [part.className, part.getBoundingClientRect()]).filter(visible);
    const across = (a, b) => a.left < b.right - 1 && b.left < a.right - 1;
    const meet = (a, b) => across(a, b) && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    return [...document.querySelectorAll('.row')].map(parts).flatMap(row => row.flatMap(([name, box], place) =>
        row.slice(place + 1).filter(([, other]) => meet(box, other)).map(([other]) => name + ' and ' + other)));
}"""
"""Parts of rows that cover each other."""


def test_a_narrow_page_keeps_the_tool_and_the_badge(viewer: str, journal: Path, opened: Opened) -> None:
    """Names of tools, servers, models and agents are to be read in full, as is the word error; nothing covers them."""
    session = Session("team", "ada")
    with Book(journal) as book:
        root = book.add("flow", "agent", session, 0, 900, input={"messages": [user("Read it.")]})
        for place, agent in enumerate(("Writer of summaries", "Reviewer of whatever was written")):
            metadata = {"agent_name": agent, "mcp_server": "secure-filesystem-server", "mcp_tool": "read_text_file"}
            fields: dict[str, Any] = {"level": "ERROR", "status_message": "not allowed"} if place else {"output": "x"}
            book.add("read_text_file", "tool", session, 10 + place, 90 + place, root, metadata=metadata, **fields)
            handed = {"agent_name": agent, "step_type": "act", "step_index": 11, "think_id": root.id}
            book.add("transfer_to_researcher_of_llamas", "tool", session, 100, 110, root, metadata=handed, output="y")
    page = opened(viewer + "/sessions/team", width=NARROW)
    page.locator(".steps > summary").first.click()
    whole = "name => [...document.querySelectorAll(name)].every(each => each.scrollWidth <= each.clientWidth + 1)"
    page.locator(".row .level.error").wait_for()
    handed_over = "transfer_to_researcher_of_llamas"
    assert sorted(texts(page, ".row .name")) == ["flow", "read_text_file", "read_text_file", handed_over, handed_over]
    for part in (".row .name", ".row .level", ".row .kind", ".row .server", ".row .by"):
        assert page.evaluate(whole, part), part
    assert texts(page, ".row .level") == ["error"]
    assert page.evaluate(OVERLAPPING) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_page_fits_a_narrow_window(viewer: str, journal: Path, opened: Opened) -> None:
    """No page scrolls to the side, and a comparison has the two sides in halves, what is on one side only in full."""
    record(journal)
    with Book(journal) as book:
        for name, tool in (("left", "transfer_to_the_researcher"), ("right", "transfer_to_the_writer")):
            root = book.add("flow", "agent", Session(name, "ada"), 0, 900, input={"messages": [user("Read it.")]})
            book.add(tool, "tool", Session(name, "ada"), 10, 90, root, output="x")
    paths = ["/", "/?q=llama", "/sessions/chat-3f2a91bc?q=llama", "/sessions/chat-3f2a91bc?kind=think", "/sessions/no"]
    page = opened(viewer + "/sessions/chat-3f2a91bc", width=NARROW)
    page.locator(".steps > summary").first.click()
    page.locator(ROW).nth(2).click()
    page.locator(".row .detail").first.wait_for()
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    steps = page.locator(".detail .links a").first.get_attribute("href")
    graph = page.locator(".drawing a").first.get_attribute("href")
    for path in (*paths, steps, graph, "/compare?a=left&b=right"):
        page = opened(viewer + path, width=NARROW, complains=path.endswith("/no"))
        assert page.evaluate(fits), path
    one_side = page.locator("tr.removed td:visible").first.bounding_box()
    assert one_side["width"] > NARROW * 0.8
    assert {"transfer_to_the_researcher", "transfer_to_the_writer"} <= set(texts(page, ".side a"))


WIDE = 1400


def test_a_wide_screen_has_the_steps_on_the_left_and_one_step_on_the_right(
    viewer: str, journal: Path, opened: Opened
) -> None:
    """One step is open at a time, beside the list and not in it; Escape closes it."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc", width=WIDE)
    page.locator(".steps > summary").first.click()
    page.locator(ROW).nth(2).click()
    page.locator(ROW).nth(1).click()
    page.locator("[data-row][open] > .detail").wait_for()
    settle(page, "() => document.querySelectorAll('[data-row][open]').length === 1")
    row, detail = (page.locator("[data-row][open] > " + name).bounding_box() for name in ("summary", ".detail"))
    assert detail["x"] >= row["x"] + row["width"]
    assert texts(page, "[data-row][open] .which") == ["think 1 gpt-5-mini"]
    photograph(page, "wide")
    page.keyboard.press("Escape")
    settle(page, "() => !document.querySelector('[data-row][open]')")


def test_keys_lead_to_errors_and_to_the_slowest_step_and_fold_branches(
    viewer: str, journal: Path, opened: Opened
) -> None:
    """`e` goes to the next failed step, `s` to the slowest, `c` folds what is below the agent and shows it again."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc")
    page.keyboard.press("e")
    focused = "() => document.activeElement.closest('.row')?.querySelector('.what').innerText ?? ''"
    assert "error" in page.evaluate(focused)
    page.keyboard.press("s")
    took = page.evaluate("() => Number(document.activeElement.closest('.row').dataset.took)")
    steps = page.locator(".row").evaluate_all("rows => rows.filter(r => r.dataset.depth > 0).map(r => +r.dataset.took)")
    assert took == max(steps)
    first = page.locator(".turn").first
    first.locator("details.steps").evaluate("one => { one.open = true; }")
    first.locator(".fold").first.click()
    assert [row.is_visible() for row in first.locator(".row").all()] == [True, *[False] * 6]
    assert first.locator("[data-row][open]").count() == 0
    first.locator(ROW).first.focus()
    page.keyboard.press("c")
    assert all(row.is_visible() for row in first.locator(".row").all())


def test_a_value_is_copied(viewer: str, journal: Path, opened: Opened) -> None:
    """The button beside a value puts it into the clipboard as it was recorded."""
    record(journal)
    page = opened(viewer + "/sessions/chat-3f2a91bc")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".steps > summary").first.click()
    page.locator(ROW).nth(2).click()
    page.locator(".row").nth(2).locator(".copy").first.click()
    settle(page, "() => document.querySelector('[data-status]').textContent === 'Copied.'")
    shown = page.locator(".row").nth(2).locator(".value pre").first.text_content()
    assert page.evaluate("() => navigator.clipboard.readText()") == shown


@pytest.mark.parametrize("width", [WIDE, 390])
def test_the_pages_fit_their_screen(viewer: str, journal: Path, opened: Opened, width: int) -> None:
    """List, filter and graph scroll in themselves, never the page as a whole, and need no script."""
    record(journal)
    page = opened(viewer + "/?sort=cost", width=width, javascript=False)
    photograph(page, f"list-{width}")
    assert "In order among the newest" in page.locator("main").inner_text()
    page.goto(viewer + "/sessions/chat-3f2a91bc")
    page.locator("select[name=kind]").select_option("act")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("h1").inner_text() == "Acts"
    assert page.locator(".hits li").count() == 4
    photograph(page, f"filter-{width}")
    page.goto(viewer + "/sessions/chat-3f2a91bc")
    page.locator(".steps > summary").first.click()
    photograph(page, f"session-{width}")
    page.get_by_role("link", name="Agents and tools").first.click()
    assert "herder" in page.locator(".graph svg").text_content()
    photograph(page, f"graph-{width}")
    assert page.locator("body").bounding_box()["width"] <= width
    scrolled = page.locator("html").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert scrolled
