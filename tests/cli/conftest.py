"""The command, and the journal that it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Lfi


@pytest.fixture
def lfi() -> Lfi:
    """The command, on the journal of the test."""
    return Lfi()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"
