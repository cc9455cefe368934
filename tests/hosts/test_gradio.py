"""A real Gradio server with its own clients: each tab's events and generators are in their own session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from fresh import run_fresh
from hosts.serving import APPS

GRADIO = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
EVENTS = int(os.environ.get("REQUESTS", "10000"))
"""How many events the tabs of the largest test have, all together."""
pytestmark = pytest.mark.application


def rows_of(users: int, visits: int, timeout_s: float) -> Counter[tuple[str, str | None, str | None, str | None]]:
    """The rows that tabs of *users* leave: name, session, user and the parent's name."""
    pytest.importorskip("gradio")
    done = run_fresh(f"import gradio_chat; gradio_chat.main({users}, {visits})", {**GRADIO, "PYTHONPATH": str(APPS)},
                     timeout_s=timeout_s)  # fmt: skip
    printed = [line for line in done.split("[stderr]")[0].splitlines() if line.startswith("[")]
    return Counter(tuple(json.loads(line)) for line in printed)


def assert_each_in_its_own(rows: Counter[tuple[str, str | None, str | None, str | None]], users: int) -> None:
    """Every row of a chat is below its turn, in the block's session; any other row is in its tab's session, or none."""
    for name, session, user, parent in rows:
        who = name.rpartition(" ")[2]
        if who == "batch":
            assert (session, user, parent) == (None, None, None)
        elif name.startswith("turn") or parent is not None:
            assert (session, user) == (f"chat-of-{who}", who)
            assert parent in (None, f"turn of {who}")
        elif int(who[1:]) % 3:
            assert (session, user) == (f"tab-of-{who}", who)
        else:
            assert (session, user) == (None, None)
    turns = Counter({name.rpartition(" ")[2]: count for (name, *_), count in rows.items() if name.startswith("turn")})
    below = Counter({name.rpartition(" ")[2]: count for (name, _, _, parent), count in rows.items() if parent})
    assert below == Counter({who: 5 * count for who, count in turns.items()})
    assert {name.rpartition(" ")[2] for name, *_ in rows} == {*(f"u{user}" for user in range(users)), "batch"}


def test_tabs_do_not_mix_and_generators_keep_their_blocks() -> None:
    """What a handler sets holds for its tab; all steps of a chat, sync or async, are in one turn of one session."""
    assert_each_in_its_own(rows_of(6, 4, 180), 6)


@pytest.mark.slow
@pytest.mark.timeout(7300)
def test_no_event_of_fifty_tabs_is_in_another_one_s_session() -> None:
    """Each of 10,000 events of 50 tabs, a third of them without a log-in, is in its own session."""
    assert_each_in_its_own(rows_of(50, EVENTS // 50, 7200), 50)


CALLERS = """
import gradio as gr
from gradio_client import Client
from langfuse_integration import langfuse_manager
from langfuse_integration.hosts.gradio import GradioHost, TAB_LIMIT
from langfuse_integration.sessions.store import SessionStore
host = GradioHost(SessionStore())
class Request:
    def __init__(self, session_hash): self.session_hash = session_hash
one, two = host._cell_of(Request("1")), host._cell_of(Request("2"))
assert host._cell_of([Request("1"), Request("1")]) is one is not two
assert host._cell_of(Request("1")) is one
for requests in ([Request("1"), Request("2")], None, Request(None), Request(""), Request(7), []):
    assert host._cell_of(requests) not in (one, two)
for number in range(3, TAB_LIMIT + 2):
    host._cell_of(Request(str(number)))
assert len(host._tabs) == TAB_LIMIT and "2" not in host._tabs and "1" in host._tabs
print("right")
"""


def test_a_batch_of_several_tabs_is_nobody_s() -> None:
    """Events without a tab, or of several, begin with no session; only so many tabs are kept."""
    pytest.importorskip("gradio")
    assert "right" in run_fresh(CALLERS, GRADIO)


def test_importing_us_does_not_import_gradio() -> None:
    """The host loads only where the application has imported Gradio."""
    code = "import sys, langfuse_integration as l; l.langfuse_manager.set_session('s'); print('gradio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
