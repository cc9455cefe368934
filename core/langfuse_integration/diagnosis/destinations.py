"""Checks of the destinations beside Langfuse: their answers, and what waits for them or was refused."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..destinations import OtlpDestination
from .file import WAITS_LONG_S, lasting
from .installation import Finding, Installation

PROBE_S = 5.0


def reachable(installation: Installation) -> Iterator[Finding]:
    """Check that each destination takes traces, by a request without any."""
    from ..export.exchange import Unreachable
    from ..export.http import OtlpHttp
    from ..export.response import Outcome, judge_otlp

    for destination in installation.settings.all_destinations:
        connection = OtlpHttp(destination, min(installation.settings.timeout_s, PROBE_S))
        try:
            result, _ = judge_otlp(connection.spans(b""), 0)
            # Some servers refuse a request without spans, and take any other.
            problem = result.reason if result.outcome is Outcome.WAIT else ""
        except Unreachable as error:
            problem = f"it cannot be reached: {error}"
        finally:
            connection.close()
        if problem:
            yield Finding(
                "otlp",
                f"{destination.address} does not take traces: {problem}.",
                f"Check the address and the headers ({_origin(installation, destination)}); what is recorded waits in "
                "the journal.",
            )
        else:
            yield Finding("otlp", f"{destination.address} takes traces ({_added(destination)})")


def waiting(installation: Installation) -> Iterator[Finding]:
    """Check for observations that have waited long for a destination, or whose destination is set no longer."""
    current = {destination.fingerprint for destination in installation.settings.all_destinations}
    if "forwards" not in installation.rows.tables:
        return
    rows = installation.rows.query(
        "SELECT fingerprint, address, count(*), min(ended_ns) FROM forwards JOIN spans ON spans.id = forwards.row "
        "JOIN destinations ON destinations.id = forwards.destination WHERE forwards.state = 0 "
        "GROUP BY fingerprint ORDER BY address"
    )
    for fingerprint, address, count, oldest_ns in rows:
        age_s = time.time() - oldest_ns / 1e9
        verb = "observation waits" if count == 1 else "observations wait"
        summary = f"{count:,} {verb} for {address}, the oldest for {lasting(age_s)}"
        if fingerprint not in current:
            yield Finding(
                "otlp",
                f"{summary}, and the settings name that destination no longer, or with other headers.",
                f"`langfuse-integration push --to {address}` delivers them, "
                f"`langfuse-integration prune --destination {address}` forgets them.",
            )
        elif age_s < WAITS_LONG_S:
            yield Finding("otlp", summary)
        else:
            yield Finding(
                "otlp", f"{summary}.", f"langfuse-integration push --to {address} delivers them, or says why it cannot."
            )


def refused(installation: Installation) -> Iterator[Finding]:
    """Report observations that a destination refused, by reason."""
    if "forwards" not in installation.rows.tables:
        return
    rows = installation.rows.query(
        "SELECT address, coalesce(reason, 'no reason given'), count(*) FROM forwards "
        "JOIN destinations ON destinations.id = forwards.destination WHERE forwards.state = 2 "
        "GROUP BY address, reason ORDER BY count(*) DESC LIMIT 5"
    )
    for address, reason, count in rows:
        noun = "observation was" if count == 1 else "observations were"
        yield Finding(
            "otlp",
            f"{count:,} {noun} refused by {address} and set aside for it: {reason}.",
            f"`langfuse-integration prune --destination {address}` forgets them.",
        )


def _origin(installation: Installation, destination: OtlpDestination) -> str:
    """Return where a destination is set."""
    from_environment = installation.settings.otlp_endpoint == destination.url
    return "LANGFUSE_INTEGRATION_OTLP_ENDPOINT, _OTLP_HEADERS" if from_environment else "configure(destinations=...)"


def _added(destination: OtlpDestination) -> str:
    names = " and ".join(destination.conventions)
    return names or "no conventions"
