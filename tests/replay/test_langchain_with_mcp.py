"""Sessions of LangChain with MCP servers, recorded once and replayed in another process, which reaches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import langfuse_integration_langchain
import langfuse_integration_mcp
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions
from peers.mcp_servers import TESTS, HttpServer
from peers.models import ModelServer
from replay.langchain_applications import APPLICATIONS, instrument, run
from replay.recordings import write

pytestmark = [pytest.mark.langchain, pytest.mark.mcp, pytest.mark.application]

EVERY = [
    f"{application}-{provider}-{wire}"
    for application in APPLICATIONS
    for provider in ("openai", "anthropic")
    for wire in ("stdio", "http")
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, mcp_http: HttpServer) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with the session files of all applications, and what came of each: outcome and trees."""
    folder = tmp_path_factory.mktemp("recorded")
    outcomes: dict[str, Any] = {}
    instrument()
    try:
        for name in EVERY:
            application, provider, wire = name.split("-")
            with ModelServer() as server, recorded_sessions() as sessions:
                server.script(*APPLICATIONS[application][1])
                with langfuse_manager.session("s-1", "u-1"):
                    outcome = run(application, provider, server.url, mcp_http.url if wire == "http" else None)
                outcomes[name] = [outcome, [trace.tree() for trace in sessions.one().traces]]
                write(sessions, folder / f"{name}.session.json")
        yield folder, outcomes
    finally:
        langfuse_integration_langchain.uninstrument()
        langfuse_integration_mcp.uninstrument()


@pytest.fixture(scope="module")
def replayed(recorded: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    """What came of the replays, in a process of its own that can start no other: outcome, trees and divergences."""
    folder, _ = recorded
    code = (
        "import os, json, subprocess, sys, anyio\n"
        "from pathlib import Path\n"
        "from replay.langchain_applications import replay_all\n"
        "from peers.mcp_servers import stdio_parameters\n"
        "stdio_parameters()\n"  # starts the process that the tests' own servers come from
        "def refused(*positional, **named): raise AssertionError('a process is started')\n"
        "subprocess.Popen.__init__ = os.fork = os.posix_spawn = anyio.open_process = refused\n"
        "print(json.dumps(replay_all(Path(sys.argv[1]))))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", EVERY)
def test_the_replay_is_the_same(recorded: tuple[Path, dict[str, Any]], replayed: dict[str, Any], name: str) -> None:
    """Answers, chunks with their ids, tokens of an agent, questions of the server and trees are those recorded."""
    _, outcomes = recorded
    outcome, trees, sentences = replayed[name]
    assert sentences == []
    assert trees == outcomes[name][1]
    assert outcome == outcomes[name][0]


def test_the_recordings_hold_what_they_are_for(recorded: tuple[Path, dict[str, Any]]) -> None:
    """Streams have more than one chunk, tools ran, the server asked, and no file has the key."""
    folder, outcomes = recorded
    assert len(outcomes["astream-openai-http"][0][0]) > 5
    assert outcomes["stream-anthropic-stdio"][0][0][-1]["chunk_position"] == "last"
    assert outcomes["agent-openai-stdio"][0][0][-1][2:] == ["hay", "straw", "Both of them."]
    assert outcomes["elicitation-openai-http"][0][1][0][:2] == ["elicitation/create", "Which animal?"]
    assert outcomes["sampling-anthropic-http"][0][0][-1] == "A tale."
    assert len(list(folder.glob("*.session.json"))) == len(EVERY) == 28
