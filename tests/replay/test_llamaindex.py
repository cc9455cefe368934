"""Sessions of LlamaIndex with MCP servers, recorded once and replayed in another process, which reaches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.llms.anthropic")
pytest.importorskip("llama_index.tools.mcp")

import langfuse_integration_llamaindex
import langfuse_integration_mcp
from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions
from peers.mcp_servers import TESTS, HttpServer
from peers.models import ModelServer
from replay.llamaindex_applications import APPLICATIONS, Places, run
from replay.recordings import write

pytestmark = [
    pytest.mark.llamaindex,
    pytest.mark.mcp,
    pytest.mark.application,
    # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
]

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
    langfuse_integration_llamaindex.instrument()
    langfuse_integration_mcp.instrument()
    try:
        for name in EVERY:
            application, provider, wire = name.split("-")
            with ModelServer() as server, recorded_sessions() as sessions:
                server.script(*APPLICATIONS[application][1])
                with langfuse_manager.session("s-1", "u-1"):
                    places = Places(server.url, mcp_http.url if wire == "http" else None)
                    outcome = run(application, provider, places)
                outcomes[name] = [outcome, [trace.tree() for trace in sessions.one().traces]]
                write(sessions, folder / f"{name}.session.json")
        yield folder, outcomes
    finally:
        langfuse_integration_llamaindex.uninstrument()
        langfuse_integration_mcp.uninstrument()


@pytest.fixture(scope="module")
def replayed(recorded: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    """What came of the replays, in a process of its own: outcome, trees and divergences of each."""
    folder, _ = recorded
    command = [sys.executable, "-m", "replay.llamaindex_applications", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", EVERY)
def test_the_replay_is_the_same(recorded: tuple[Path, dict[str, Any]], replayed: dict[str, Any], name: str) -> None:
    """Answers, pieces of streams, events of agents, questions of the server and trees are those of the recording."""
    _, outcomes = recorded
    outcome, trees, sentences = replayed[name]
    assert sentences == []
    assert trees == outcomes[name][1]
    assert outcome == outcomes[name][0]


def test_the_recordings_hold_what_they_are_for(recorded: tuple[Path, dict[str, Any]]) -> None:
    """Streams have more than one piece, both agents speak, the server asks, and no file has the key or a port."""
    folder, outcomes = recorded
    assert len(outcomes["astream_chat-openai-http"][0][2]) > 3
    assert {event[0] for event in outcomes["handoffs-anthropic-stdio"][0][0]} == {"host", "herder", "handoff", "echo"}
    assert outcomes["elicitation-openai-stdio"][0][1][0][:2] == ["elicitation/create", "Which animal?"]
    assert outcomes["sampling-openai-http"][0][0][1] == "A tale."
    assert len(list(folder.glob("*.session.json"))) == len(EVERY) == 32
