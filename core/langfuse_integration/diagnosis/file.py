"""Checks of the journal's file: access, permissions, size, and rows that wait or were refused."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import LangfuseIntegrationError
from ..journal.schema import PENDING, PIECES_SCHEMA, SET_ASIDE
from .installation import Finding, Installation

WAITS_LONG_S = 600.0
"""The age from which on a waiting row is reported; younger rows are being delivered."""
FREE_BYTES = 64 * 1024 * 1024


def readable(installation: Installation) -> Iterator[Finding]:
    """Check that the journal can be read and written; report its path and size."""
    path = installation.settings.journal_path
    if path is None:
        yield Finding("journal", "The journal is switched off by LANGFUSE_INTEGRATION_JOURNAL")
        return
    try:
        rows = installation.journal.query("SELECT count(*) FROM spans")
    except LangfuseIntegrationError as error:
        problem, _, cure = str(error).rpartition(": ")
        yield Finding("journal", f"{problem}.", cure[:1].upper() + cure[1:])
        return
    place = path if path.exists() else _nearest(path)
    if not os.access(place, os.W_OK):
        yield Finding(
            "journal",
            f"{place} cannot be written by this user: observations are kept in memory only, and lost with the process.",
            "Change its owner or mode, or set LANGFUSE_INTEGRATION_JOURNAL to another file.",
        )
        return
    if not path.exists():
        yield Finding("journal", f"{path} is not there yet: it is made with the first observation")
        return
    size = sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())
    yield Finding("journal", f"{path}: {rows[0][0] if rows else 0:,} observations, {size / 1e6:,.1f} MB")


def whole(installation: Installation) -> Iterator[Finding]:
    """Report rows that refer to missing parts."""
    rows = installation.rows
    version = rows.query("PRAGMA user_version")
    if not version or version[0][0] < PIECES_SCHEMA:
        return
    missing = rows.query(
        "SELECT (SELECT count(*) FROM main.spans, json_each(main.spans.pieces) "
        "WHERE json_extract(value, '$[1]') NOT IN (SELECT id FROM nodes)) + "
        "(SELECT count(*) FROM nodes WHERE parent NOT IN (SELECT id FROM nodes UNION SELECT 0) "
        "OR copy_of NOT IN (SELECT id FROM nodes UNION SELECT 0))"
    )[0][0]
    if missing:
        yield Finding(
            "journal",
            f"{installation.settings.journal_path} is damaged: {missing} parts of observations are missing.",
            "Please report it. The next process that sends from it sets the file aside, and keeps what can be read.",
        )


def private(installation: Installation) -> Iterator[Finding]:
    """Check that other users of this machine cannot read the journal."""
    path = installation.settings.journal_path
    if path is None or os.name != "posix" or not path.is_file():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            "journal",
            f"{path} can be read or written by others (mode {mode:o}).",
            f"chmod 600 {shlex.quote(str(path))}",
        )


def room(installation: Installation) -> Iterator[Finding]:
    """Check for a full disk, and for a journal close to its size limit."""
    path, most = installation.settings.journal_path, installation.settings.journal_max_bytes
    if path is None:
        return
    free = shutil.disk_usage(_nearest(path)).free
    if free < FREE_BYTES:
        yield Finding(
            "journal", f"The disk of {path} has {free / 1e6:,.0f} MB left.", "Make room, or move the journal elsewhere."
        )
    waiting = installation.rows.query(f"SELECT coalesce(sum(stored_bytes), 0) FROM spans WHERE state = {PENDING}")
    if installation.settings.mode == "langfuse" and waiting and waiting[0][0] > 0.8 * most:
        yield Finding(
            "journal",
            f"What waits for Langfuse fills {waiting[0][0] / most:.0%} of the journal: soon the oldest gives way.",
            "langfuse-integration push, or raise LANGFUSE_INTEGRATION_JOURNAL_MAX_BYTES.",
        )


def waiting(installation: Installation) -> Iterator[Finding]:
    """Check for observations that have waited long for Langfuse."""
    if installation.settings.mode != "langfuse":
        return
    rows = installation.rows.query(f"SELECT count(*), min(ended_ns) FROM spans WHERE state = {PENDING}")
    count, oldest_ns = rows[0] if rows else (0, None)
    if oldest_ns is None:
        return
    age_s = time.time() - oldest_ns / 1e9
    summary = f"{count:,} observations wait for Langfuse, the oldest for {lasting(age_s)}"
    if age_s < WAITS_LONG_S:
        yield Finding("journal", summary)
    else:
        yield Finding("journal", f"{summary}.", "langfuse-integration push delivers them, or says why it cannot.")


def set_aside(installation: Installation) -> Iterator[Finding]:
    """Report observations that Langfuse refused, by reason."""
    rows = installation.rows.query(
        f"SELECT coalesce(reason, 'no reason given'), count(*) FROM spans WHERE state = {SET_ASIDE} "
        "GROUP BY reason ORDER BY count(*) DESC LIMIT 5"
    )
    for reason, count in rows:
        noun = "observation was" if count == 1 else "observations were"
        yield Finding(
            "journal",
            f"{count:,} {noun} refused by Langfuse and set aside: {reason}.",
            "Look at them with `langfuse-integration show`; `langfuse-integration prune` removes them.",
        )


def _nearest(path: Path) -> Path:
    """Return the file, or its nearest existing folder."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def lasting(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
