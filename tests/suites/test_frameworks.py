"""The frameworks' own tests have the same outcomes with `instrument()` as without: the application is never changed.

Their tests are in the source distributions of langchain-core, langgraph and mcp, which are taken from the package index
in the release that is installed here. That of llama-index-core holds no tests.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


class Suite(NamedTuple):
    """A part of a framework's tests.

    Attributes:
        distribution: the name on the package index.
        needs: further packages that these tests import.
        tests: folders and files below the root of the sources.
        least: how many tests pass at least; fewer mean that the suite did not run.
    """

    distribution: str
    needs: tuple[str, ...]
    tests: tuple[str, ...]
    least: int


LANGCHAIN = Suite(
    "langchain-core",
    (
        *("syrupy", "freezegun", "pytest-mock", "pytest-socket", "blockbuster", "forbiddenfruit", "langchain-tests"),
        *("responses", "numpy"),
    ),
    (
        "tests/unit_tests/callbacks",
        "tests/unit_tests/tracers",
        "tests/unit_tests/language_models/llms",
        "tests/unit_tests/language_models/chat_models/test_base.py",
        "tests/unit_tests/runnables/test_runnable_events_v2.py",
        "tests/unit_tests/runnables/test_tracing_interops.py",
    ),
    200,
)
LANGGRAPH = Suite(
    "langgraph",
    (
        *("syrupy", "pytest-mock", "pytest-repeat", "pytest-retry", "dirty-equals", "aiosqlite", "sqlite-vec", "redis"),
        *("langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres", "psycopg", "psycopg-pool", "psycopg-binary"),
    ),
    (
        "tests/test_graph_callbacks.py",
        "tests/test_interruption.py",
        "tests/test_messages_state.py",
        "tests/test_parent_command.py",
        "tests/test_parent_command_async.py",
        "tests/test_runnable.py",
        "tests/test_state.py",
    ),
    40,
)
MCP = Suite(
    "mcp",
    (
        *("inline-snapshot", "dirty-equals", "logfire", "logfire-sdk", "logfire-api", "executing", "asttokens", "trio"),
        *("outcome", "sortedcontainers", "sniffio", "attrs", "blockbuster", "forbiddenfruit"),
    ),
    ("tests/client/test_client.py", "tests/client/test_sampling_callback.py", "tests/client/test_logging_callback.py"),
    40,
)


def pip(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def sources(suite: Suite, folder: Path) -> Path:
    """Return the unpacked source distribution of the installed release."""
    version = importlib.metadata.version(suite.distribution)
    pip("download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{suite.distribution}=={version}")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (root,) = (entry for entry in folder.iterdir() if entry.is_dir())
    return root


def outcomes(root: Path, suite: Suite, needs: Path, *options: str) -> dict[str, str]:
    """Return the outcome of each test of *suite*."""
    report = root / "outcomes.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(f"--junitxml={report}", "-o", "junit_family=xunit1", *options, *suite.tests),
        ],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (HERE, needs))),
            "LANGFUSE_INTEGRATION_JOURNAL": str(root / "journal.sqlite3"),
            "LANGSMITH_TRACING": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    return {
        f"{case.get('classname')}.{case.get('name')}": next(
            (child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed"
        )
        for case in ElementTree.parse(report).iter("testcase")
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", [LANGCHAIN, LANGGRAPH, MCP], ids=lambda suite: suite.distribution)
def test_a_frameworks_own_tests_have_the_same_outcomes(suite: Suite, tmp_path: Path) -> None:
    """Each test that passes without `instrument()` passes with it."""
    needs = tmp_path / "needs"
    pip("install", "--quiet", "--no-deps", "--target", str(needs), *suite.needs)
    folder = tmp_path / "sources"
    folder.mkdir()
    root = sources(suite, folder)
    without = outcomes(root, suite, needs)
    assert Counter(without.values())["passed"] >= suite.least, Counter(without.values())
    changed = {
        name: (outcome, without.get(name))
        for name, outcome in outcomes(root, suite, needs, "-p", "instrumented").items()
        if outcome != without.get(name)
    }
    assert changed == {}
