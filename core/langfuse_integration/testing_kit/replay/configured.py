"""What pytest's command line and configuration say of every replay."""

from __future__ import annotations

is_rerecording = False
"""Replays run live and write their session files anew: `pytest --rerecord`."""
ignored: tuple[str, ...] = ()
"""Regular expressions of what is different in every run: `replay_ignore` in pytest's configuration."""
