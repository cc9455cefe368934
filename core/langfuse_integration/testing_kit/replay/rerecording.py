"""Whether replays run live and write their session files anew: `pytest --rerecord`."""

from __future__ import annotations

is_requested = False
