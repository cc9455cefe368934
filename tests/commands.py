"""The command line as a user has it, and something recorded for it to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from forked import can_be_forked, run
from langfuse_integration import langfuse_manager

COMMAND = [str(Path(sys.executable).with_name("lfi"))]
NOT_INHERITED = (
    "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS", "PYTHONIOENCODING", "PYTHONUNBUFFERED", "TERM",
)  # fmt: skip
UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Lfi:
    """Runs the command; the environment is that of the test, without what would colour or widen the output.

    Each run is a process of its own. Most are forked from one that has imported the command already; `started`, and
    whatever depends on how Python starts, begin from nothing.
    """

    @staticmethod
    def environment(**changes: str) -> dict[str, str]:
        """Return the environment that a command gets."""
        kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        path = os.pathsep.join([str(Path(COMMAND[0]).parent), kept.get("PATH", "")])
        return {**kept, "PATH": path, "PYTHONUTF8": "1", **changes}

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, with nobody at a terminal."""
        if can_be_forked(environment):
            return run([*COMMAND, *arguments], self.environment(**environment), 240)
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=240,
            check=False,
        )

    def ok(self, *arguments: str, **environment: str) -> str:
        """Run it, and return what it writes; it has to end with exit code 0."""
        done = self(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def started(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start it, and let it run."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            **options,
        )


def normalised(text: str) -> str:
    """Return output with its times and random ids replaced, so that two runs are the same."""
    text = re.sub(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} to \d{2}:\d{2}:\d{2} \(.*?\)", "DAY TIME to TIME (TIME)", text)
    text = re.sub(r"\b\d{2}:\d{2}:\d{2}\b", "CLOCK", text)
    text = re.sub(r" +\d[\d.]* (?:ms|s)(?=\s|$)", "  TIME", text, flags=re.MULTILINE)
    return re.sub(r"\b[0-9a-f]{16}\b", "ID", text)


def assert_safe(text: str, columns: int = 80) -> None:
    """Assert that no line is wider than the terminal, and nothing in the text would be obeyed by it."""
    assert [line for line in text.split("\n") if cell_len(line) > columns] == []
    assert UNPRINTABLE.findall(text) == []


def record_turn(
    session_id: str,
    user_id: str | None = None,
    question: str = "What do llamas eat?",
    answer: str = "Hay.",
    *,
    error: str | None = None,
    cost: float | None = None,
) -> None:
    """Record one turn: think, act over MCP, think."""
    call = {"name": "search", "args": {"query": "food"}, "id": "call-1"}
    with (
        langfuse_manager.session(session_id, user_id),
        langfuse_manager.trace_span(
            "herder", as_type="agent", input={"messages": [{"role": "user", "content": question}]}
        ) as agent,
    ):
        _think(1, {"role": "assistant", "content": "", "tool_calls": [call]}, {"input": 120, "output": 9}, cost)
        step = {"step_type": "act", "step_index": 1, "mcp_server": "llama-mcp", "mcp_tool": "search"}
        with langfuse_manager.trace_span("search", as_type="tool", input={"query": "food"}, metadata=step) as tool:
            if error is None:
                tool.update(output={"content": [{"type": "text", "text": "feeding.md:\nhay"}]})
            else:
                tool.update(level="ERROR", status_message=error)
        _think(2, {"role": "assistant", "content": answer}, {"input": 1_100, "output": 12}, cost)
        agent.update(output={"messages": [{"role": "assistant", "content": answer}]})


def _think(index: int, message: dict[str, Any], usage: dict[str, int], cost: float | None) -> None:
    step = {"step_type": "think", "step_index": index, "agent_name": "herder"}
    with langfuse_manager.trace_span("ChatModel", as_type="generation", input=[], metadata=step) as think:
        think.update(model="llama-1", usage_details=usage, output=message)
        if cost is not None:
            think.update(cost_details={"total": cost})


def settle() -> None:
    """Wait until everything recorded in this process is in the journal."""
    result = langfuse_manager.flush(10)
    assert result.pending == result.lost == 0
