"""The pytest plugin: the fixtures `sessions` and `replay`, and the report of a failing comparison of trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import RecordedSessions
    from .testing_kit.replay.replaying import Replaying


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records replayed sessions anew."""
    group = parser.getgroup("langfuse-integration")
    group.addoption("--rerecord", action="store_true", help="run replayed sessions live, and write their files anew")


def pytest_configure(config: pytest.Config) -> None:
    """Pass the option on to replays."""
    if config.getoption("--rerecord", False):
        from .testing_kit.replay import rerecording

        rerecording.is_requested = True


@pytest.fixture
def sessions() -> Iterator[RecordedSessions]:
    """Everything recorded during the test, in memory; nothing is sent."""
    from .testing import recorded_sessions

    with recorded_sessions() as recorded:
        yield recorded


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Callable[..., Replaying]:
    """`langfuse_integration.testing.replay`; a relative path is looked for beside the test's module as well."""
    from .testing import replay

    def replay_beside(path: Path | str, **options: Any) -> Replaying:
        beside = request.path.parent / path
        return replay(beside if beside.exists() else path, **options)

    return replay_beside


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show where two trees differ; other comparisons are left to pytest."""
    if op != "==" or not isinstance(left, list) or not isinstance(right, list):
        return None
    from .testing_kit.tree_diff import differences, is_tree

    if not is_tree(left) or not is_tree(right):
        return None
    return ["the trees are not the same (+ left only, - right only)", *differences(left, right)]
