"""Virtual environments for contenders whose requirements conflict with ours; each is made on first use."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .contenders import PLACES

HOME = Path(__file__).parent / "results" / "environments"
SAME = (
    "langchain",
    "langchain-core",
    "langgraph",
    "llama-index-core",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
)
"""Packages pinned to the release installed here."""

PACKAGES = {
    "traceloop": (
        "llama-index-llms-openai",  # its instrumentor for LlamaIndex imports it
        "opentelemetry-instrumentation-langchain",
        "opentelemetry-instrumentation-llamaindex",
    ),
}


class Unavailable(Exception):
    """An environment cannot be made; the text says why, in one line."""


@cache
def python_of(contender: str) -> str:
    """Return the interpreter for *contender*.

    Raises:
        Unavailable: its environment cannot be made.
    """
    place = PLACES.get(contender)
    name = place.environment if place is not None else None
    if name is None:
        return sys.executable
    python = HOME / name / "bin" / "python"
    complete = HOME / name / "complete"
    if not complete.exists():
        _make(HOME / name, [*PACKAGES[name], *_pins()])
        complete.touch()
    return str(python)


def _pins() -> list[str]:
    pins = []
    for package in SAME:
        try:
            pins.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return pins


def _make(place: Path, packages: list[str]) -> None:
    """Make an environment with *packages*, by uv if it is there, else by pip."""
    python = str(place / "bin" / "python")
    ways = (
        [
            [sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
            [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *packages],
        ],
        [
            [sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)],
            [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *packages],
        ],
    )
    reason = ""
    for way in ways:
        for command in way:
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode:
                reason = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
                break
        else:
            return
    raise Unavailable(f"{place.name} cannot be installed here: {reason}")
