"""The application's line that called us, for messages that name the place to change."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

from .event_loops import in_event_loop

_MAX_DEPTH = 200
_OURS = tuple(
    str(Path(__file__).parent.parent) if package == "langfuse_integration" else f"{os.sep}{package}{os.sep}"
    for package in (
        "langfuse_integration",
        "langfuse_integration_langchain",
        "langfuse_integration_llamaindex",
        "langfuse_integration_mcp",
    )
)
_LIBRARIES = (
    str(Path(os.__file__).parent) + os.sep,
    f"{os.sep}site-packages{os.sep}",
    f"{os.sep}dist-packages{os.sep}",
)
"""What is in the paths of Python's own modules and of installed packages; importing sysconfig would read links."""


def callsite() -> str | None:
    """Return the innermost line around this one that is the application's own, `path:line`, or None without one.

    What is ours, Python's or an installed package's is passed over, and so is what has no file. Costs microseconds:
    for what happens once.
    """
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(_MAX_DEPTH):
        if frame is None:
            return None
        name = frame.f_code.co_filename
        if not _foreign(name):
            return f"{_shown(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _foreign(name: str) -> bool:
    if name.startswith("<"):
        return True
    return name.startswith(_OURS[0]) or any(part in name for part in (*_OURS[1:], *_LIBRARIES))


def _shown(name: str) -> str:
    """Return a path relative to the working directory, if it is below it.

    An event loop may forbid blocking calls, and asking for the working directory is one: there the shell's word counts.
    """
    try:
        folder = Path(os.environ.get("PWD", "/nowhere")) if in_event_loop() else Path.cwd()
        return str(Path(name).relative_to(folder))
    except (ValueError, OSError):
        return name
