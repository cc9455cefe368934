"""The pytest plugin: the fixtures `sessions` and `replay`, and the report of a failing comparison of trees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import RecordedSessions
    from .testing_kit.replay.replaying import Replaying


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records replayed sessions anew, and the setting of what no replay compares."""
    group = parser.getgroup("langfuse-integration")
    group.addoption("--rerecord", action="store_true", help="run replayed sessions live, and write their files anew")
    parser.addini("replay_ignore", "regular expressions of what is different in every run of a replay", "linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Pass them on to replays.

    Raises:
        pytest.UsageError: an entry of `replay_ignore` is no regular expression.
    """
    ignored = config.getini("replay_ignore")
    for pattern in ignored:
        try:
            re.compile(pattern)
        except re.error as error:
            raise pytest.UsageError(f"replay_ignore: {pattern!r} is no regular expression: {error}") from None
    if ignored or config.getoption("--rerecord", False):
        from .testing_kit.replay import configured

        configured.is_rerecording = config.getoption("--rerecord", False)
        configured.ignored = tuple(ignored)


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
