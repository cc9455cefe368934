"""Library: a folder of Markdown files that can be searched and read.

The search ranks passages, which are paragraphs, by BM25 over the words of the passage and of its title, and favours
articles whose title the query names. Whoever wants another search puts an object with the same methods in its place.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

K1, B = 1.5, 0.75  # how soon repeated words stop counting, and how much a passage's length matters
NAMED = 2.0  # what a passage gains when the query is its title; a part of it when they share words

_SAYS_LITTLE = "a an and are as at be but by can do does for from how in is it its of on or that the to was what with"
COMMON = frozenset(_SAYS_LITTLE.split())


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found; *score* is positive, and comparable within one search only."""

    title: str
    passage: str
    score: float


class Searchable(Protocol):
    """What the server needs of a library."""

    def search(self, query: str, limit: int = 3) -> list[Hit]:
        """Return up to *limit* passages, the best first; none if no word of *query* occurs."""
        ...

    def read(self, title: str) -> str | None:
        """Return the document with *title*, in any case, or None."""
        ...

    @property
    def titles(self) -> list[str]:
        """The titles of all documents, sorted."""
        ...


@dataclass(frozen=True, slots=True)
class _Passage:
    title: str
    text: str
    named: frozenset[str]
    words: Counter[str]


class Library:
    """The Markdown files of a folder, read once. The first line of each is its title, `# Title`."""

    def __init__(self, folder: Path) -> None:
        self._documents: dict[str, str] = {}
        self._passages: list[_Passage] = []
        for path in sorted(folder.glob("*.md")):
            document = path.read_text(encoding="utf-8").strip()
            heading, _, body = document.partition("\n")
            title = heading.removeprefix("# ").strip()
            self._documents[title] = document
            for paragraph in re.split(r"\n\s*\n", body.strip()):
                text, named = " ".join(paragraph.split()), _words(title)
                self._passages.append(_Passage(title, text, frozenset(named), Counter(named + _words(text))))
        self._holding = Counter(word for passage in self._passages for word in passage.words)
        self._mean_length = sum(passage.words.total() for passage in self._passages) / max(len(self._passages), 1)

    @property
    def titles(self) -> list[str]:
        """The titles of all documents, sorted."""
        return sorted(self._documents)

    def search(self, query: str, limit: int = 3) -> list[Hit]:
        """Return up to *limit* passages, the best first; none if no word of *query* occurs."""
        wanted = frozenset(_words(query))
        hits = [Hit(passage.title, passage.text, self._score(wanted, passage)) for passage in self._passages]
        return sorted((hit for hit in hits if hit.score > 0), key=lambda hit: -hit.score)[:limit]

    def read(self, title: str) -> str | None:
        """Return the document with *title*, in any case, or None."""
        asked = title.strip().casefold()
        return next((text for name, text in self._documents.items() if name.casefold() == asked), None)

    @staticmethod
    def words(text: str) -> frozenset[str]:
        """Return the words of *text* that say something, in their base form."""
        return frozenset(_words(text))

    def _score(self, wanted: frozenset[str], passage: _Passage) -> float:
        words = passage.words
        found = wanted & words.keys()
        length = K1 * (1 - B + B * words.total() / self._mean_length)
        score = sum(self._rarity(word) * words[word] * (K1 + 1) / (words[word] + length) for word in found)
        named = wanted & passage.named
        return score + (NAMED * len(named) / len(wanted | passage.named) if named else 0.0)

    def _rarity(self, word: str) -> float:
        holding = self._holding[word]
        return math.log(1 + (len(self._passages) - holding + 0.5) / (holding + 0.5))


def _words(text: str) -> list[str]:
    """Return the words of *text* that say something, in lower case, `llamas` and `carries` as `llama` and `carry`."""
    return [_base_form(word) for word in re.findall(r"\w+", text.lower()) if word not in COMMON]


def _base_form(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
