"""The template environment and its limits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import presentation
from ..encoding.messages import messages_in
from ..presentation import documents
from . import formatting
from .paths import session_path

HERE = Path(__file__).parent
SHARED = (
    "arguments",
    "clock",
    "cost_note",
    "cost_of",
    "counted",
    "dollars",
    "duration",
    "moment",
    "score_line",
    "score_value",
    "title_of",
)
FILTERS = ("coloured", "coloured_json", "iso", "lane", "longer", "plain_text", "pretty", "shown")
TEXT_LIMIT = 20_000
"""Characters of one input or output that a page shows at first."""
MESSAGES_SHOWN = 6
"""Messages of one input that a page shows at first."""

UTTERANCES_SHOWN = 20
PROBLEMS_SHOWN = 4
SCORES_SHOWN = 20
WORDS_SHOWN = 140
"""Characters of a session's first question and last answer in the list."""


@cache
def environment() -> Environment:
    """Return the templates' environment: everything that they write is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update({name: getattr(presentation, name) for name in SHARED})
    made.filters.update({name: getattr(formatting, name) for name in FILTERS})
    made.filters.update(documents=documents, messages=messages_in, session_path=session_path)
    limits: dict[str, Any] = {
        "TEXT_LIMIT": TEXT_LIMIT,
        "MESSAGES_SHOWN": MESSAGES_SHOWN,
        "UTTERANCES_SHOWN": UTTERANCES_SHOWN,
        "PROBLEMS_SHOWN": PROBLEMS_SHOWN,
        "SCORES_SHOWN": SCORES_SHOWN,
        "WORDS_SHOWN": WORDS_SHOWN,
    }
    made.globals.update(limits)
    return made


def rendered(name: str, **values: Any) -> str:
    """Return a template filled in."""
    return environment().get_template(name).render(**values)


def style() -> str:
    """Return the style sheet."""
    return (HERE / "static" / "viewer.css").read_text(encoding="utf-8")
