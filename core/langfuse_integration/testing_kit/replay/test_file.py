"""The test module that `lfi test` writes beside a session file."""

from __future__ import annotations

import re
import unicodedata

from .entry import TurnFunction

SYNC = '''"""The recorded session {session}: models and MCP servers answer from {file}.

To be run where the application can be imported: `python -m pytest` looks for it in the current folder.
"""

from __future__ import annotations

from pathlib import Path

{imports}from langfuse_integration.testing import replay

SESSION = Path(__file__).with_name("{file}")


def test_{name}() -> None:
    """The application goes the recorded way."""
    with replay(SESSION) as session:
        for turn in session.turns:
            {call}
'''
ASYNC = '''"""The recorded session {session}: models and MCP servers answer from {file}.

To be run where the application can be imported: `python -m pytest` looks for it in the current folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

{imports}from langfuse_integration.testing import replay

SESSION = Path(__file__).with_name("{file}")


async def replayed() -> None:
    async with replay(SESSION) as session:
        for turn in session.turns:
            {call}


def test_{name}() -> None:
    """The application goes the recorded way."""
    asyncio.run(replayed())
'''
TO_DO = 'raise NotImplementedError("call your application here, with turn.text or turn.input")'


def file_name(session_id: str) -> str:
    """Return a session's id as the beginning of file names."""
    plain = unicodedata.normalize("NFKD", session_id).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:60] or "session"


def module_name(name: str) -> str:
    """Return the file name of the test module."""
    return f"test_{name.replace('-', '_')}.py"


def module_text(session_id: str, file: str, name: str, function: TurnFunction | None) -> str:
    """Return the test module.

    Args:
        file: the name of the session file.
        name: of the test.
        function: called for each turn; None shows where to put the call.
    """
    call, imports, template = TO_DO, "", SYNC
    if function is not None:
        imports = f"from {function.module} import {function.name}\n\n"
        call = f"{function.name}(turn.{'text' if function.takes_text else 'input'})"
        if function.is_async:
            call, template = f"await {call}", ASYNC
    session = session_id.encode("ascii", "backslashreplace").decode().replace("\\", "\\\\").replace('"', "'")
    fields = {"session": session, "file": file, "name": name.replace("-", "_"), "imports": imports, "call": call}
    return template.format(**fields)
