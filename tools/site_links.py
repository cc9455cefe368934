"""A hook of mkdocs: links to the repository's files, which are not part of the site, become their names."""

from __future__ import annotations

import re
from typing import Any

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page without links that lead out of `docs`; tests/test_documents.py checks their files."""
    return OUTSIDE.sub(r"`\1`", markdown)
