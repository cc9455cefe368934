"""Where pages are."""

from __future__ import annotations

from urllib.parse import quote, urlencode


def session_path(session_id: str | None, fragment: str | None = None, /, **asked: object) -> str:
    """Return where a session's page is, with what is asked of it; empty answers are left out."""
    given = {name: value for name, value in asked.items() if value}
    if session_id is None:
        path = "/untagged"
    elif session_id in (".", ".."):
        path, given = "/sessions", {"id": session_id, **given}
    else:
        path = f"/sessions/{quote(session_id, safe='')}"
    return path + (f"?{urlencode(given)}" if given else "") + (f"#{fragment}" if fragment else "")
