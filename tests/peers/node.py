"""MCP servers that come as npm packages: npx fetches each once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from machine import need_program

FETCHING_S = 200


def command_of(package: str, program: str, *, oldest: int = 20) -> list[str]:
    """Return how *program* of an npm package is started, or skip the test where no npm registry can be reached.

    Args:
        oldest: the first major version of Node that the package runs on.
    """
    start = [*_npx(oldest), "--yes", f"--package={package}", "--"]
    try:
        fetched = subprocess.run([*start, "node", "--version"], env=environment(start), timeout=FETCHING_S, check=False)
    except subprocess.TimeoutExpired:
        fetched = None
    if fetched is None or fetched.returncode != 0:
        pytest.skip(f"needs {package}: let npm reach a registry, or run `npm install --global {package}`")
    return [*start, program]


def environment(command: list[str]) -> dict[str, str]:
    """Return the environment for a command: programs that npx starts look for the same `node`."""
    return {**os.environ, "PATH": str(Path(command[0]).parent) + os.pathsep + os.environ["PATH"]}


def _npx(oldest: int) -> list[str]:
    """Return how npx is started: the Python package that brings node has no command for it that works."""
    node = need_program("node", oldest=oldest)
    script = Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
    return [node, str(script)] if script.exists() else [need_program("npx")]
