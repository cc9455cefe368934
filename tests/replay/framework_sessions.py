"""Sessions of a framework's applications with MCP servers: recorded once, then replayed in a process of its own.

    python -m replay.framework_sessions langchain FOLDER

replays every session file of a folder, where no process can be started, and prints the outcomes as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import recorded_sessions, replay
from peers.mcp_servers import TESTS, stdio_parameters
from peers.models import ModelServer
from replay.recordings import write

GONE = "http://127.0.0.1:9"
"""An address at which nothing answers."""
ASKING = ("elicitation", "sampling")
"""Applications whose tools make the server ask, which it does only where they run."""


class Outcomes(NamedTuple):
    """What came of the sessions of a framework, by APPLICATION-PROVIDER-WIRE.

    Attributes:
        folder: holds the session files.
        recorded: outcome and trees of each session.
        replayed: outcome, trees and sentences of each replay.
    """

    folder: Path
    recorded: dict[str, Any]
    replayed: dict[str, Any]


def applications_of(framework: str) -> Any:
    """Return the module with the applications of a framework."""
    return import_module(f"replay.{framework}_applications")


def names_of(applications: Iterable[str]) -> list[str]:
    """Return the name of each session: every application with every provider over every wire."""
    return [
        f"{application}-{provider}-{wire}"
        for application in applications
        for provider in ("openai", "anthropic")
        for wire in ("stdio", "http")
    ]


def record_all(framework: str, mcp_url: str, folder: Path) -> dict[str, Any]:
    """Record every session as a file in *folder*; return outcome and trees by name."""
    module = applications_of(framework)
    outcomes: dict[str, Any] = {}
    with module.instrumented():
        for name in names_of(module.APPLICATIONS):
            application, provider, wire = name.split("-")
            with ModelServer() as server, recorded_sessions() as sessions:
                server.script(*module.APPLICATIONS[application][1])
                with langfuse_manager.session("s-1", "u-1"):
                    outcome = module.run(application, provider, server.url, mcp_url if wire == "http" else None)
                outcomes[name] = [outcome, [trace.tree() for trace in sessions.one().traces]]
                write(sessions, folder / f"{name}.session.json")
    return outcomes


def replay_all(framework: str, folder: Path) -> dict[str, Any]:
    """Replay the session files in *folder*; return outcome, trees and sentences by name."""
    run: Callable[..., Any] = applications_of(framework).run
    outcomes: dict[str, Any] = {}
    with applications_of(framework).instrumented():
        for path in sorted(folder.glob("*.session.json")):
            name = path.name.removesuffix(".session.json")
            application, provider, wire = name.split("-")
            places = GONE, f"{GONE}/mcp" if wire == "http" else None
            with replay(path) as session:
                outcome = run(application, provider, *places)
                sentences = [str(divergence) for divergence in session.divergences]
                trees = [trace.tree() for trace in session.recorded.of("s-1").traces]
            if application not in ASKING:
                with replay(path, tools="recorded"):
                    assert run(application, provider, *places) == outcome, name
            outcomes[name] = [outcome, trees, sentences]
    return outcomes


def outcomes_of(framework: str, mcp_url: str, folder: Path) -> Outcomes:
    """Record every session, and replay each in a fresh process."""
    recorded = record_all(framework, mcp_url, folder)
    command = [sys.executable, "-m", "replay.framework_sessions", framework, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return Outcomes(folder, recorded, json.loads(done.stdout))


def _refused(*positional: Any, **named: Any) -> Any:
    raise AssertionError("a process is started")


if __name__ == "__main__":
    stdio_parameters()  # starts the process that the tests' own servers come from
    subprocess.Popen.__init__ = os.fork = os.posix_spawn = anyio.open_process = _refused  # type: ignore[assignment]
    print(json.dumps(replay_all(sys.argv[1], Path(sys.argv[2]))))
