"""Leave nothing of the journal's machinery to the next test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_threads_left(no_threads_left: None) -> None:
    """Every test here waits for the end of the delivery's threads."""
