"""Checks of the Langfuse server: its answer, the keys, and its clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from .installation import Finding, Installation

SKEW_S = 30.0
"""The clock difference that is reported; Langfuse sorts by the times that are sent."""
CLOUDS = ("https://cloud.langfuse.com", "https://us.cloud.langfuse.com")


def reachable(installation: Installation) -> Iterator[Finding]:
    """Check that Langfuse answers and accepts the keys."""
    current, reply = installation.settings, installation.project_reply
    if reply is None:
        return
    if reply.answer is None:
        yield Finding(
            "langfuse",
            f"Langfuse at {current.address} cannot be reached: {reply.problem}.",
            "Check the address (LANGFUSE_BASE_URL), the network and the proxy; what is recorded waits in the journal.",
        )
        return
    status = reply.answer.status
    if status in (401, 403):
        other = next((cloud for cloud in CLOUDS if cloud != current.base_url), "") if current.base_url in CLOUDS else ""
        elsewhere = f" They may be of {other}: then set LANGFUSE_BASE_URL to it." if other else ""
        yield Finding(
            "langfuse",
            f"Langfuse at {current.address} does not take the keys (HTTP {status}).",
            f"Copy both keys again from the settings of the project in Langfuse.{elsewhere}",
        )
        return
    project = _project(reply.answer.body) if status == 200 else None
    if project is None:
        yield Finding(
            "langfuse",
            f"What answers at {current.address} is no Langfuse, or is not well (HTTP {status}).",
            "Check LANGFUSE_BASE_URL: it is the address of the web page, without a path.",
        )
        return
    yield Finding("langfuse", f"Langfuse takes the keys: project {project}")


def clock(installation: Installation) -> Iterator[Finding]:
    """Check this machine's clock against Langfuse's."""
    reply = installation.project_reply
    date = reply.answer.headers.get("date") if reply is not None and reply.answer is not None else None
    if reply is None or date is None:
        return
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    off_s = reply.at_s - theirs
    if abs(off_s) > SKEW_S:
        way = "fast" if off_s > 0 else "slow"
        yield Finding(
            "clock",
            f"This machine's clock is {abs(off_s):,.0f} s {way}, by Langfuse's: times are shown wrong, and traces of "
            "several machines are out of order.",
            "Set the clock: switch time synchronisation (NTP) on.",
        )


def _project(body: bytes) -> str | None:
    try:
        return str(json.loads(body)["data"][0]["name"])
    except (ValueError, LookupError, TypeError):
        return None
