"""How much an answer holds, and a report that fits a budget of tokens."""

from __future__ import annotations

CHARACTERS_PER_TOKEN = 3.0
"""Characters in a token, a cautious estimate: English has about four, JSON and ids about three."""
SMALLEST_TOKENS, LARGEST_TOKENS = 200, 50_000
DEFAULT_TOKENS = 2_000
SESSIONS_LIMIT, HITS_LIMIT = 100, 50


class Page:
    """Lines of a report, as many as its budget allows.

    Attributes:
        full: whether a line did not fit any more.
    """

    def __init__(self, budget_tokens: int = DEFAULT_TOKENS) -> None:
        tokens = min(max(budget_tokens, SMALLEST_TOKENS), LARGEST_TOKENS)
        self.full = False
        self._left = int(tokens * CHARACTERS_PER_TOKEN)
        self._lines: list[str] = []

    @property
    def left(self) -> int:
        """Characters that are left."""
        return self._left

    def add(self, line: str, most: int | None = None) -> bool:
        """Add a line and return whether it fitted.

        Args:
            most: characters of the line that are kept; a mark shows the cut.
        """
        if most is not None and len(line) > most:
            line = line[: most - 1] + "…"
        if self.full or len(line) + 1 > self._left:
            self.full = True
            return False
        self._left -= len(line) + 1
        self._lines.append(line)
        return True

    def __str__(self) -> str:
        return "\n".join(self._lines)
