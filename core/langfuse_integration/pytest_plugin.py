"""The pytest plugin: the fixture `sessions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import RecordedSessions


@pytest.fixture
def sessions() -> Iterator[RecordedSessions]:
    """Everything recorded during the test, in memory; nothing is sent."""
    from .testing import recorded_sessions

    with recorded_sessions() as recorded:
        yield recorded
