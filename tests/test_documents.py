"""README and docs: every Python block runs as it stands, and every file that they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fresh import run_fresh

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The guide needs an application of the reader's: tests/end_to_end/test_guide.py and tests/hosts run it with one.
WITHOUT_AN_APPLICATION = {"guide.md"}


def blocks() -> Iterator[tuple[str, str]]:
    """Yield (place, code) of each Python block that is not marked `notest`."""
    for document in DOCUMENTS:
        if document.name in WITHOUT_AN_APPLICATION:
            continue
        text = document.read_text()
        for found in BLOCK.finditer(text):
            if found[1] == "python" and "notest" not in found[2]:
                yield f"{document.name}:{text[: found.start()].count(chr(10)) + 1}", found[3]


@pytest.mark.parametrize(("place", "code"), [pytest.param(*block, id=block[0]) for block in blocks()])
def test_a_block_runs_as_it_stands(place: str, code: str, tmp_path: Path) -> None:
    """What a reader copies works, and says nothing on stderr."""
    assert "[stderr]" not in run_fresh(code, cwd=tmp_path), place


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda found: found.name)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    """Links to files lead somewhere."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
