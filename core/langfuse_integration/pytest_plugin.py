"""The pytest plugin: the fixture `sessions`, and the report of a failing comparison of trees."""

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


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show where two trees differ; other comparisons are left to pytest."""
    if op != "==" or not isinstance(left, list) or not isinstance(right, list):
        return None
    from .testing_kit.tree_diff import differences, is_tree

    if not is_tree(left) or not is_tree(right):
        return None
    return ["the trees are not the same (+ left only, - right only)", *differences(left, right)]
