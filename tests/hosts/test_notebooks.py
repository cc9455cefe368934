"""A real Jupyter kernel: what a cell sets holds for the cells after it, with and without `await`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from fresh import run_fresh
from peers.otlp import Receiver

pytestmark = pytest.mark.application

START = """
import asyncio, threading
from langfuse_integration import langfuse_manager as m
def work(name):
    with m.trace_span(name): pass
async def works(name):
    await asyncio.sleep(0); work(name)
"""


def run_cells(cells: list[str], folder: Path, receiver: Receiver) -> list[tuple[str, str | None, str | None]]:
    """Run *cells* in a kernel of their own; return name, session and user of what arrived, by start."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in [*cells, "m.flush(60)"]])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LANGFUSE_", "OTEL_"))}
    journal = {"LANGFUSE_INTEGRATION_JOURNAL": str(folder / "kernel.sqlite3"), "IPYTHONDIR": str(folder)}
    client = nbclient.NotebookClient(book, timeout=120, kernel_name="python3")
    client.execute(env={**kept, **journal, **receiver.environment()})
    return [(row.name, row.session_id, row.user_id) for row in sorted(receiver.spans, key=lambda row: row.start_ns)]


@pytest.mark.filterwarnings("default")
def test_a_session_holds_for_later_cells(tmp_path: Path, receiver: Receiver) -> None:
    """What a cell sets or clears holds for the next cells, their tasks and `to_thread`; not for bare threads."""
    rows = run_cells(
        [
            START + "await asyncio.sleep(0)\nm.set_session('first', user_id='ann')",
            "work('sync')",
            "await asyncio.gather(works('a'), works('a'), asyncio.to_thread(work, 'a'))",
            "m.set_session('second', user_id='bob'); await works('set here')",
            "work('after await'); bare = threading.Thread(target=work, args=('bare',)); bare.start(); bare.join()",
            "with m.session('block'):\n    await works('block')\nawait works('after the block')",
            "m.set_user('eve'); await asyncio.sleep(0)",
            "work('eve')",
            "await asyncio.sleep(0); m.clear_session()",
            "work('cleared')",
        ],
        tmp_path,
        receiver,
    )
    assert rows == [
        ("sync", "first", "ann"),
        *[("a", "first", "ann")] * 3,
        ("set here", "second", "bob"),
        ("after await", "second", "bob"),
        ("bare", None, None),
        ("block", "block", None),
        ("after the block", "second", "bob"),
        ("eve", "second", "eve"),
        ("cleared", None, None),
    ]


@pytest.mark.filterwarnings("default")
def test_tasks_of_a_cell_for_several_users_are_apart(tmp_path: Path, receiver: Receiver) -> None:
    """What tasks that run at once set holds in each of them, and not for the cells after them."""
    users = """
async def user(name):
    m.set_session(name); await asyncio.sleep(0.01); work(name)
await asyncio.gather(*map(user, "abc")); work('same cell')
"""
    cells = [START + "m.set_session('mine')" + users, "work('next')", users, "m.set_session('yours')", "work('last')"]
    assert Counter(run_cells(cells, tmp_path, receiver)) == {
        **{(name, name, None): 2 for name in "abc"},
        ("same cell", "mine", None): 2,
        ("next", "mine", None): 1,
        ("last", "yours", None): 1,
    }


@pytest.mark.filterwarnings("default")
def test_a_server_in_a_notebook_keeps_its_visitors_apart(tmp_path: Path, receiver: Receiver) -> None:
    """Requests that a server in a thread of the notebook answers have none of the notebook's session."""
    server = """
import http.server, urllib.request
class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        work('visit'); self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Visit)
threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(2): urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/').read()
work('notebook')
"""
    assert run_cells([START + "m.set_session('notebook')", server], tmp_path, receiver) == [
        ("visit", None, None),
        ("visit", None, None),
        ("notebook", "notebook", None),
    ]


def test_a_shell_of_ipython_keeps_a_session(tmp_path: Path) -> None:
    """A terminal's `await` line runs in a task of its own, and what it sets holds for the next lines."""
    pytest.importorskip("IPython")
    out = run_fresh(
        """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(colors="nocolor")
        for cell in ("from langfuse_integration import langfuse_manager as m; import asyncio",
                     "await asyncio.sleep(0); m.set_session('s-1')", "print(m.current_session_id)"):
            result = shell.run_cell(cell)
            assert result.success
        from langfuse_integration import langfuse_manager
        print(langfuse_manager.current_session_id)
        """,
        {"IPYTHONDIR": str(tmp_path)},
    )
    assert out.splitlines()[:1] == ["s-1"]
