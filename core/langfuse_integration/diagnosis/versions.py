"""Checks of installed packages and their versions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from .installation import Finding, Installation

OURSELVES = "langfuse-integration"
SHOWN = (
    "langfuse", "opentelemetry-sdk", "langchain-core", "langchain", "langgraph", "langchain-mcp-adapters",
    "llama-index-core", "llama-index-workflows", "llama-index-tools-mcp", "mcp", "fastmcp", "streamlit", "starlette",
    "redis",
)  # fmt: skip
"""Packages whose version affects recording."""
DEVELOPMENT_EXTRAS = frozenset({"bench", "dev", "docs", "release", "test"})
"""Extras for work on this package: their bounds are nothing to an application."""
OLDEST_PYTHON = (3, 11)
_STATED = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_BOUND = re.compile(r"(<=|>=|==|!=|~=|<|>)\s*([\w.*+!-]+)")


class Requirement(NamedTuple):
    """What a package needs of another: its name, its bounds as text, and the extra that it is for, or nothing."""

    name: str
    bounds: str
    extra: str


def python(installation: Installation) -> Iterator[Finding]:
    """Check the Python version."""
    running = f"Python {sys.version.split()[0]}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("versions", f"{running} is not supported.", f"Use Python {oldest} or newer.")
    else:
        yield Finding("versions", f"{running}, {OURSELVES} {_version(OURSELVES) or 'unpacked'}")


def packages(installation: Installation) -> Iterator[Finding]:
    """Report the installed packages, and those outside the supported versions."""
    stated = {
        requirement.name: requirement
        for requirement in requirements(OURSELVES)
        if requirement.extra not in DEVELOPMENT_EXTRAS
    }
    there: list[str] = []
    for name in dict.fromkeys((*stated, *SHOWN)):
        version = _version(name)
        needed = stated.get(name)
        if version is None:
            if needed is not None and not needed.extra:
                yield Finding("versions", f"{name} is not installed.", f"pip install '{name}{needed.bounds}'")
            continue
        if needed is not None and not within(version, needed.bounds):
            yield Finding(
                "versions",
                f"{name} {version} is outside of what is supported ({needed.bounds}).",
                f"pip install '{name}{needed.bounds}'",
            )
        elif name in SHOWN:
            there.append(f"{name} {version}")
    if there:
        yield Finding("versions", ", ".join(there))


def quarrels(installation: Installation) -> Iterator[Finding]:
    """Report packages whose requirements the installed versions do not meet."""
    for name in SHOWN:
        if _version(name) is None:
            continue
        for needed in requirements(name):
            version = _version(needed.name)
            if needed.extra or needed.name not in SHOWN or version is None or within(version, needed.bounds):
                continue
            requirement = f"{needed.name}{needed.bounds}"
            yield Finding(
                "versions",
                f"{name} {_version(name)} needs {requirement}, but {needed.name} {version} is installed.",
                f"pip install --upgrade '{name}' '{requirement}'",
            )


def requirements(name: str) -> list[Requirement]:
    """Return what a package needs; lines with a condition other than an extra are left out."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    needed: list[Requirement] = []
    for line in lines:
        stated = _STATED.fullmatch(line.strip())
        if stated is None:
            continue
        condition = (stated[3] or "").strip()
        extra = re.fullmatch(r"extra\s*==\s*['\"]([\w.-]+)['\"]", condition)
        if condition and extra is None:
            continue
        needed.append(
            Requirement(re.sub(r"[-_.]+", "-", stated[1]).lower(), stated[2].strip(), extra[1] if extra else "")
        )
    return needed


def within(version: str, bounds: str) -> bool:
    """Return whether a release lies within bounds such as `<2,>=1.24`; what cannot be read does not exclude it."""
    have = _numbers(version)
    for relation, limit in _BOUND.findall(bounds):
        want = _numbers(limit)
        wide = max(len(have), len(want))
        left, right = (tuple(side + (0,) * (wide - len(side))) for side in (have, want))
        start = have[: len(want)] == want if limit.endswith(".*") else left == right
        holds = {
            "<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": start,
            "!=": not start, "~=": left >= right and have[: max(len(want) - 1, 1)] == want[: max(len(want) - 1, 1)],
        }  # fmt: skip
        if not holds[relation]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release's numbers; what comes after them (rc1, .dev0, +local) does not count."""
    match = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
