"""The session tracking guide: each block runs word for word, in an application that has what the blocks name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fresh import run_fresh

GUIDE = Path(__file__).parent / "session_tracking_guide.md"
BLOCKS = [
    (text[: found.start()].count("\n") + 1, found[1])
    for text in [GUIDE.read_text()]
    for found in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
]
# What the blocks take for granted: names of the reader's application, and of the blocks before.
APPLICATION = """
import types, uuid
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions

generate_session_id = lambda: "session-of-the-application"
authenticated_user_id = "user-of-the-application"
session_id = "session-abc123"
do_stuff = lambda: None
class State(dict):
    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__
st = types.SimpleNamespace(session_state=State())
"""


def test_the_guide_has_all_its_blocks() -> None:
    """No block is lost to the pattern that finds them."""
    assert len(BLOCKS) == GUIDE.read_text().count("```python") == 15


@pytest.mark.parametrize(("line", "code"), [block for block in BLOCKS if "import streamlit" not in block[1]])
def test_a_block_of_the_guide_runs_word_for_word(line: int, code: str) -> None:
    """Every block without a page runs, and everything that it records stands in the session that it sets."""
    out = run_fresh(
        APPLICATION
        + "with recorded_sessions() as sessions:\n"
        + "".join(f"    {text}\n" for text in ["langfuse_manager.set_session(session_id)", *code.splitlines()])
        + "    print('untagged', len(sessions.of(None).traces))\n"
    )
    assert out.endswith("untagged 0\n"), line
    assert "[stderr]" not in out
