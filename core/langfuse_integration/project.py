"""Which Langfuse project the keys belong to, for links."""

from __future__ import annotations

from .settings import Settings

_known: dict[tuple[str, str], str] = {}


def project_url(settings: Settings, timeout_s: float = 2.0) -> str:
    """Return the address of the project in Langfuse; asked once, and the base address while it cannot be told."""
    key = (settings.base_url, settings.public_key or "")
    if key not in _known:
        found = _ask(settings, timeout_s)
        if found is None:
            return settings.base_url
        _known.clear()
        _known[key] = found
    return f"{settings.base_url}/project/{_known[key]}"


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
