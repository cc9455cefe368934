"""Where to look at a session or a trace: in Langfuse, or in the local viewer."""

from __future__ import annotations

from urllib.parse import quote

VIEWER_URL = "http://127.0.0.1:8123"
"""Where `langfuse-integration view` serves by default."""


def session_url(session_id: str) -> str:
    """Return the address of a session's replay."""
    from .project import project_url
    from .settings import settings

    found = settings()
    if found.mode != "langfuse":
        return f"{VIEWER_URL}/sessions/{quote(session_id, safe='')}"
    return f"{project_url(found)}/sessions/{quote(session_id, safe='')}"


def trace_url(trace_id: str) -> str:
    """Return the address of a trace."""
    from .settings import settings

    found = settings()
    if found.mode != "langfuse":
        return f"{VIEWER_URL}/traces/{trace_id}"
    return f"{found.base_url}/trace/{trace_id}"
