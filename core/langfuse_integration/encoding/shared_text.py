"""Text that many rows share: a history that grows step by step is kept in parts, and a row refers to its last part.

The cost of a row is that of its new part, however much was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Check = Callable[[bytes], bool]


class SharedText:
    """UTF-8 text: that of *before*, and a further part. Immutable.

    Args:
        before: the text that this one continues, or None.
        grows: whether longer texts are likely to continue it.

    Attributes:
        size_bytes: of the whole text.
    """

    __slots__ = ("__weakref__", "_checked", "before", "grows", "part", "size_bytes")

    def __init__(self, before: SharedText | None, part: bytes, *, grows: bool = True) -> None:
        self.before = before
        self.part = part
        self.grows = grows
        self.size_bytes: int = len(part) + (before.size_bytes if before is not None else 0)
        self._checked: tuple[Check, bool] | None = None

    def __len__(self) -> int:
        return self.size_bytes

    def __bytes__(self) -> bytes:
        return b"".join(text.part for text in self.lineage()) if self.before is not None else self.part

    def end(self, size_bytes: int) -> bytes:
        """Return the last *size_bytes* of the text, or all of a shorter one."""
        parts: list[bytes] = []
        text: SharedText | None = self
        while text is not None and size_bytes > 0:
            parts.append(text.part[-size_bytes:])
            size_bytes -= len(parts[-1])
            text = text.before
        return b"".join(reversed(parts))

    def lineage(self) -> list[SharedText]:
        """Return the texts that this one consists of, the oldest first."""
        texts: list[SharedText] = []
        text: SharedText | None = self
        while text is not None:
            texts.append(text)
            text = text.before
        return texts[::-1]

    def passes(self, check: Check) -> bool:
        """Return whether *check* is true of each part; each part is checked once."""
        unchecked: list[SharedText] = []
        text: SharedText | None = self
        passed = True
        while text is not None:
            if text._checked is not None and text._checked[0] is check:
                passed = text._checked[1]
                break
            unchecked.append(text)
            text = text.before
        for text in reversed(unchecked):
            passed = passed and check(text.part)
            text._checked = check, passed
        return passed


class Rope:
    """Bytes in pieces, some of which are shared with other rows.

    Args:
        pieces: bytes and shared texts, in their order.
    """

    __slots__ = ("pieces", "size_bytes")

    def __init__(self, pieces: Iterable[bytes | SharedText]) -> None:
        self.pieces = tuple(pieces)
        self.size_bytes = sum(map(len, self.pieces))

    def __len__(self) -> int:
        return self.size_bytes

    def __bytes__(self) -> bytes:
        return b"".join(map(bytes, self.pieces))

    def __eq__(self, other: Any) -> bool:
        return bytes(self) == bytes(other) if isinstance(other, (bytes, Rope)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def new_bytes(self) -> int:
        """About how many bytes are in no earlier row."""
        return sum(len(piece if isinstance(piece, bytes) else piece.part) for piece in self.pieces)
