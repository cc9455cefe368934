"""The decisions of the scripted models: search, read the best article, and answer with the sentences that fit.

The next step depends only on the question and the tools' results, so one script serves any number of conversations.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple

SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does each for from how in i into is it its me much my of on or should that "
        "the to what which who why with would you",
    )
)
CHARACTERS_A_TOKEN = 4
SENTENCES = 2
NAME = "scripted-librarian"
SECONDS_A_TOKEN = 0.008


class Call(NamedTuple):
    """A tool call to ask for."""

    tool: str
    arguments: dict[str, str]
    id: str


def next_step(question: str, results: Mapping[str, str]) -> Call | str:
    """Return the next tool call, or the answer.

    Args:
        results: what the tools called since the question have returned, by their names.
    """
    if "search" not in results:
        return _call("search", query=" ".join(_words(question)))
    title = re.search(r"^(.+) \(score ", results["search"], re.MULTILINE)
    if "read" not in results and title is not None:
        return _call("read", title=title[1])
    return _fitting(question, results.get("read") or results["search"])


def tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return len(text) // CHARACTERS_A_TOKEN


def _call(tool: str, **arguments: str) -> Call:
    return Call(tool, arguments, f"call_{uuid.uuid4().hex[:12]}")


def _fitting(question: str, article: str) -> str:
    """Return the sentences of *article* that share most words with *question*, in the article's order."""
    prose = " ".join(line for line in article.splitlines() if not line.startswith("#"))
    sentences = re.split(r"(?<=[.!?]) +", " ".join(prose.split()))
    question_words = set(_words(question))
    best = sorted(sentences, key=lambda sentence: -len(question_words & set(_words(sentence))))[:SENTENCES]
    return " ".join(sentence for sentence in sentences if sentence in best)


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [word.removesuffix("s") if len(word) > 3 else word for word in words if word not in SMALL_WORDS]
