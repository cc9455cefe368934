"""Where to look at a session or a trace: in Langfuse, or in the local viewer."""

from __future__ import annotations

from urllib.parse import quote

from .settings import Settings, settings

_known: dict[tuple[str, str], str] = {}
"""The project's id by (base URL, public key)."""
VIEWER_URL = "http://127.0.0.1:8123"
"""Where `langfuse-integration view` serves by default."""


def session_url(session_id: str) -> str:
    """Return the address of a session's replay."""
    found = settings()
    if found.mode != "langfuse":
        return f"{VIEWER_URL}/sessions/{quote(session_id, safe='')}"
    return f"{project_url(found)}/sessions/{quote(session_id, safe='')}"


def trace_url(trace_id: str) -> str:
    """Return the address of a trace."""
    found = settings()
    if found.mode != "langfuse":
        return f"{VIEWER_URL}/traces/{trace_id}"
    return f"{found.address}/trace/{trace_id}"


def project_url(settings: Settings, timeout_s: float = 2.0) -> str:
    """Return the address of the project in Langfuse; asked once, and the base address while it cannot be told."""
    key = (settings.base_url, settings.public_key or "")
    if key not in _known:
        found = _ask(settings, timeout_s)
        if found is None:
            return settings.address
        _known.clear()
        _known[key] = found
    return f"{settings.address}/project/{_known[key]}"


def _ask(settings: Settings, timeout_s: float) -> str | None:
    import httpx

    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    try:
        answer = httpx.get(
            f"{settings.base_url}/api/public/projects", auth=(settings.public_key or "", secret), timeout=timeout_s
        )
        return str(answer.json()["data"][0]["id"])
    except Exception:  # noqa: BLE001  whatever goes wrong, there is no link to give
        return None
