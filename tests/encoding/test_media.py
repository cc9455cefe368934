"""Media in texts: each form of it becomes a reference."""

from __future__ import annotations

import base64
import json

from langfuse_integration.encoding.media import MediaSieve

DATA = base64.b64encode(bytes(range(60))).decode()
FORMS = [
    f"data:image/png;base64,{DATA}",
    {"type": "image", "data": DATA, "mimeType": "image/png"},
    {"type": "image", "base64": DATA, "mime_type": "image/png"},
    {"source": {"data": DATA, "media_type": "image/png"}},
]


def test_one_picture_in_several_forms_is_one_medium() -> None:
    """A text with the same picture as a data URI and in blocks of several providers has references only."""
    sieve = MediaSieve()
    sifted = sieve.sift(json.dumps(FORMS))
    assert DATA not in sifted
    assert sifted.count("@@@langfuseMedia:type=image/png|id=") == len(FORMS)
    assert len(sieve.collected) == 1
