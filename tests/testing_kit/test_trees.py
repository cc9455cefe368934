"""What counts as a tree, and how two of them are compared."""

from __future__ import annotations

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions
from langfuse_integration.testing_kit.tree_diff import differences, is_tree


@pytest.mark.parametrize(
    "value",
    [["span a"], [{"agent a b": ["tool c", {"chain d": ["event e"]}]}], ["span a", {"generation b": []}]],
)
def test_trees_are_known(value: object) -> None:
    """Lists of "type name", and of {"type name": [...]}, nested."""
    assert is_tree(value)


@pytest.mark.parametrize(
    "value",
    [
        [],
        ["a b"],
        ["span"],
        [{"span a": [], "span b": []}],
        [{"span a": "tool b"}],
        ["span a", 1],
        "span a",
        [["span a"]],
        None,
        [{1: []}],
    ],
)
def test_other_values_are_not(value: object) -> None:
    """Other words, several keys, other values: pytest compares these by itself."""
    assert not is_tree(value)


def test_deep_trees_are_compared(sessions: RecordedSessions) -> None:
    """Two hundred levels down, the one line that differs."""
    spans = [langfuse_manager.trace_span(f"level {number}") for number in range(200)]
    for span in spans:
        span.__enter__()
    for span in reversed(spans):
        span.__exit__(None, None, None)
    tree = sessions.trace().tree()
    assert is_tree(tree)
    assert differences(tree, tree)[0] == "  span level 0"
    marked = [line.strip() for line in differences(tree, [{"span level 0": ["span other"]}]) if line[0] in "+-"]
    assert len(marked) == 200
    assert "-     span other" in marked
