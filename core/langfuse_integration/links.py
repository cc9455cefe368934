"""Addresses of sessions and traces: in Langfuse, or in the local viewer."""

from __future__ import annotations

from urllib.parse import quote

from .settings import Settings, settings

_project_ids: dict[tuple[str, str], str] = {}
"""The project's id by (base URL, public key)."""
VIEWER_URL = "http://127.0.0.1:8123"
"""The default address of `langfuse-integration view`."""


def session_url(session_id: str) -> str:
    """Return the address of a session's replay."""
    current = settings()
    base = VIEWER_URL if current.mode != "langfuse" else project_url(current)
    return f"{base}/sessions/{quote(session_id, safe='')}"


def trace_url(trace_id: str) -> str:
    """Return the address of a trace."""
    current = settings()
    if current.mode != "langfuse":
        return f"{VIEWER_URL}/traces/{trace_id}"
    return f"{current.address}/trace/{trace_id}"


def project_url(settings: Settings, timeout_s: float = 2.0) -> str:
    """Return the address of the project in Langfuse, or the base address while Langfuse does not tell the project.

    Args:
        timeout_s: seconds; Langfuse is asked once for each project.
    """
    key = (settings.base_url, settings.public_key or "")
    if key not in _project_ids:
        project_id = _project_id(settings, timeout_s)
        if project_id is None:
            return settings.address
        _project_ids.clear()
        _project_ids[key] = project_id
    return f"{settings.address}/project/{_project_ids[key]}"


def _project_id(settings: Settings, timeout_s: float) -> str | None:
    import httpx

    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    try:
        response = httpx.get(
            f"{settings.base_url}/api/public/projects", auth=(settings.public_key or "", secret), timeout=timeout_s
        )
        return str(response.json()["data"][0]["id"])
    except Exception:  # noqa: BLE001  a link is no reason to fail
        return None
