"""Checks of this installation and of recorded data; each finding names its cure.

    for finding in examine():
        print(finding.said, finding.cure)

To check something new, write a function that yields findings and list it in CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import configuration, destinations, file, grouping, process, recorded, server, versions
from .installation import Finding, Installation

__all__ = ["CHECKS", "Finding", "Installation", "examine"]

Check = Callable[[Installation], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    versions.python,
    versions.packages,
    versions.quarrels,
    configuration.settings,
    configuration.names,
    configuration.env_file,
    configuration.switch,
    configuration.keys,
    configuration.store,
    server.reachable,
    server.clock,
    destinations.reachable,
    destinations.waiting,
    destinations.refused,
    file.readable,
    file.whole,
    file.private,
    file.room,
    file.waiting,
    file.set_aside,
    process.hosts,
    process.adapters,
    process.two_tracers,
    process.gave_way,
    recorded.contents,
    recorded.damaged,
    recorded.two_tracers,
    grouping.before_the_session,
    grouping.inside_a_trace,
    grouping.a_session_each_time,
    grouping.almost_the_same,
    grouping.several_users,
)


def examine(installation: Installation | None = None) -> list[Finding]:
    """Return the findings of all checks, in their order."""
    examined = installation or Installation()
    findings: list[Finding] = []
    with examined:
        for check in CHECKS:
            try:
                findings += check(examined)
            except Exception as error:  # noqa: BLE001  the others still have something to say
                name = f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
                findings.append(
                    Finding("doctor", f"The check {name} failed: {type(error).__name__}: {error}", "Please report it.")
                )
    return findings
