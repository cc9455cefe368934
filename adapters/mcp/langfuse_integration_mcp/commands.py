"""The commands of servers over stdio, so that those of two machines can be compared: without folders and secrets."""

from __future__ import annotations

import re
from typing import Any

from langfuse_integration.reading.portable import portable_text
from langfuse_integration.reading.secret_spans import hidden

_PYTHON = re.compile(r"python[0-9.]*w?$")
_FOLDERS = re.compile(r"^(?!@|[\w+.-]+://|<tmp>)(?:.*[/\\])(?=[^/\\])")
"""The folders of an argument that is a path; packages of npm and addresses are none."""


def command_of(process: Any) -> str:
    """Return the command of a server's process with its arguments.

    Args:
        process: its parameters, as the SDK takes them.
    """
    command = _FOLDERS.sub("", str(process.command)).removesuffix(".exe")
    arguments = [_FOLDERS.sub("", portable_text(str(argument))) for argument in process.args or ()]
    return hidden(" ".join([_PYTHON.sub("python", command), *arguments]))
