"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from machine import need_program

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for folder in ("core", "adapters") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))
EVERYTHING = [
    path
    for folder in ("core", "adapters", "benchmarks", "examples", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "environments" not in path.parts  # benchmarks/results/environments holds other people's packages
]
TOP = {
    *("adapters", "benchmarks", "core", "docs", "examples", "tests", "tools"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "constraints.txt", "mkdocs.yml", "pyproject.toml"),
    *(".ci", ".gitignore", "Makefile", "noxfile.py", "test_session_tracking.py"),
}
MOST_LINES = 300
REASON = "More than 300 lines:"
"""How the docstring of a longer module begins the sentence that says why."""
IMPORTED_BY_USERS = {"SessionHandler", "SessionMiddleware"}
"""Classes that users import from the module of a framework or host, under the same name from each."""
BARE_PRONOUN = re.compile(r"(End it|It|They|Them|This|The same|As above)\b")


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree, its module first."""
    return list(ast.walk(ast.parse(path.read_text())))


def docstring(path: Path) -> str:
    """The docstring of a file."""
    module = nodes(path)[0]
    return (isinstance(module, ast.Module) and ast.get_docstring(module)) or ""


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_every_test_states_its_fact(path: Path) -> None:
    """A test has one sentence that says what is true."""
    silent = [
        node.name
        for node in nodes(path)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_module_grows_beyond_reading_without_a_reason() -> None:
    """A module has 300 lines at most, or a docstring that says why it has more; none is called utils."""
    long = [path for path in PRODUCT if len(path.read_text().splitlines()) > MOST_LINES]
    assert [path.name for path in long if REASON not in docstring(path)] == []
    assert [path for path in PRODUCT if path.stem in ("utils", "util", "helpers", "common", "misc")] == []


def test_nothing_lies_at_the_top_that_tools_have_left_there() -> None:
    """The top level has these files and folders only."""
    need_program("git")
    if not (ROOT / ".git").exists():
        pytest.skip("the tests of an archive, not of a clone")
    command = ["git", "-c", "safe.directory=*", "ls-files"]  # also in a clone that belongs to somebody else
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.partition("/")[0] for name in files.splitlines()} == TOP


def test_no_two_classes_have_one_name() -> None:
    """A class name means one thing in the product, except the names that users import from several modules."""
    names = Counter(
        node.name for path in PRODUCT for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in names.items() if count > 1} == IMPORTED_BY_USERS


def test_no_docstring_begins_with_a_bare_pronoun() -> None:
    """Every docstring, also of a constant, names its subject instead of beginning with `It`, `This` or `The same`."""
    riddles = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value.value.partition('.')[0]}"
        for path in EVERYTHING
        for node in nodes(path)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and BARE_PRONOUN.match(node.value.value.lstrip())
    ]
    assert riddles == []


def test_every_lock_and_every_fork_hook_is_of_one_kind() -> None:
    """Locks are made by internals/forks.py, which frees them in forked children and has the only hook around forks.

    That of internals/wake.py guards nothing: a thread that sleeps waits for it.
    """
    internals = ROOT / "core" / "langfuse_integration" / "internals"
    ours = internals / "forks.py", internals / "wake.py"
    outside = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for path in PRODUCT
        if path not in ours
        for node in nodes(path)
        if isinstance(node, ast.Attribute)
        and (
            node.attr == "register_at_fork"
            or (node.attr in ("Lock", "RLock") and isinstance(node.value, ast.Name) and node.value.id == "threading")
        )
    ]
    imported = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PRODUCT
        if path not in ours
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom)
        and node.module in ("threading", "os")
        and {alias.name for alias in node.names} & {"Lock", "RLock", "register_at_fork"}
    ]
    assert outside + imported == []


def test_no_statement_has_numbered_placeholders() -> None:
    """`?1` with a sequence is deprecated in Python 3.12 and an error in 3.14: values are repeated instead."""
    numbered = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PRODUCT
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"= ?\?\d", node.value)
    ]
    assert numbered == []
