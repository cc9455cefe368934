"""Addresses of pages."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def session_path(session_id: str | None, fragment: str | None = None, /, **query: object) -> str:
    """Return the address of a session's page. Empty query values are left out."""
    parameters = {name: value for name, value in query.items() if value}
    if session_id is None:
        path = "/untagged"
    elif session_id in (".", ".."):
        path, parameters = "/sessions", {"id": session_id, **parameters}
    else:
        path = f"/sessions/{quote(session_id, safe='')}"
    return path + (f"?{urlencode(parameters)}" if parameters else "") + (f"#{fragment}" if fragment else "")
