"""Library: a folder of Markdown files that can be searched and read.

The search ranks passages, which are paragraphs, by BM25 over the words of the passage and of its title, and favours
articles whose title the query names. An object with the same methods can replace it.
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

_STOP_WORD_LIST = (
    "a an and are as at be but by can do does for from how in is it its of on or that the to was what with"
)
STOP_WORDS = frozenset(_STOP_WORD_LIST.split())


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage in a search result; *score* is positive, and comparable within one search only."""

    title: str
    passage: str
    score: float


class Searchable(Protocol):
    """The methods of a library that the server uses."""

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
        query_words = frozenset(_words(query))
        hits = [Hit(passage.title, passage.text, self._score(query_words, passage)) for passage in self._passages]
        return sorted((hit for hit in hits if hit.score > 0), key=lambda hit: -hit.score)[:limit]

    def read(self, title: str) -> str | None:
        """Return the document with *title*, in any case, or None."""
        folded = title.strip().casefold()
        return next((text for name, text in self._documents.items() if name.casefold() == folded), None)

    @staticmethod
    def words(text: str) -> frozenset[str]:
        """Return the words of *text* without stop words, in their base form."""
        return frozenset(_words(text))

    def _score(self, query_words: frozenset[str], passage: _Passage) -> float:
        words = passage.words
        shared = query_words & words.keys()
        length = K1 * (1 - B + B * words.total() / self._mean_length)
        score = sum(self._rarity(word) * words[word] * (K1 + 1) / (words[word] + length) for word in shared)
        named = query_words & passage.named
        return score + (NAMED * len(named) / len(query_words | passage.named) if named else 0.0)

    def _rarity(self, word: str) -> float:
        holding = self._holding[word]
        return math.log(1 + (len(self._passages) - holding + 0.5) / (holding + 0.5))


def _words(text: str) -> list[str]:
    """Return the words of *text* without stop words, in lower case, `llamas` and `carries` as `llama` and `carry`."""
    return [_base_form(word) for word in re.findall(r"\w+", text.lower()) if word not in STOP_WORDS]


def _base_form(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
