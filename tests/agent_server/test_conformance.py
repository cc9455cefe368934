"""The conformance suite of the protocol's authors, against the server of `lfi mcp` behind HTTP."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.serving import serving
from peers.node import command_of, environment
from viewer.sample import record

pytestmark = [pytest.mark.mcp, pytest.mark.slow]
PACKAGE = "@modelcontextprotocol/conformance@0.1.16"
SCENARIOS = ("server-initialize", "ping", "tools-list", "resources-list", "dns-rebinding-protection")
"""All others call tools, prompts or resources of an example server that the suite describes."""


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The suite's command."""
    return command_of(PACKAGE, "conformance", oldest=22)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of the server: the suite speaks HTTP only."""
    from langfuse_integration.agent_server.protocol import JournalServer

    record(tmp_path / "read.sqlite3")
    with serving(JournalServer(tmp_path / "read.sqlite3", "1.0").server.streamable_http_app()) as base:
        yield f"{base}/mcp"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_server_conforms(suite: list[str], address: str, tmp_path: Path, scenario: str) -> None:
    """Each scenario that needs no example tool passes all of its checks, without a warning."""
    done = subprocess.run(
        [*suite, "server", "--url", address, "--scenario", scenario],
        env=environment(suite),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((passed, total),) = re.findall(r"Passed: (\d+)/(\d+), 0 failed, 0 warnings", done.stdout)
    assert passed == total != "0"
