"""The sessions whose ids are nearest to one that is not in the journal."""

from __future__ import annotations

from difflib import get_close_matches

from .archive import Archive

NEWEST = 1_000
"""The newest sessions, among which the nearest are looked for."""
ALIKE = 0.4
"""How like two ids have to be, from 0 to 1; see `difflib.get_close_matches`."""


def nearest_sessions(archive: Archive, session_id: str, limit: int = 3) -> list[str]:
    """Return up to *limit* ids of sessions, the likest first; none where no id is like it."""
    return get_close_matches(session_id, archive.matching("", limit=NEWEST), limit, ALIKE)
