"""Masking and capture: nothing unmasked reaches the journal, and no key reaches the journal, a log or a repr."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from langfuse_integration import configure, langfuse_manager
from langfuse_integration import settings as settings_module
from langfuse_integration.settings import settings
from peers.misbehaviour import status
from peers.otlp import Receiver

MARKER = 50
"""Characters that say how much was cut, at most."""
SECRET = "alpaca-4711-secret"


def masked(*, data: Any) -> Any:
    """What an application gives as `mask`: walks through containers, and hides the secret."""
    if isinstance(data, str):
        return data.replace(SECRET, "***")
    if isinstance(data, dict):
        return {key: masked(data=value) for key, value in data.items()}
    return [masked(data=value) for value in data] if isinstance(data, list) else data


def files_of(journal: Path) -> bytes:
    """Every byte of the journal's files."""
    return b"".join(found.read_bytes() for found in journal.parent.glob("journal.sqlite3*") if found.is_file())


def record() -> None:
    """Have the secret wherever an application can put it."""
    try:
        with langfuse_manager.trace_span(
            "query", input={"deep": [SECRET, {"er": SECRET}]}, metadata={"note": SECRET}
        ) as span:
            span.update(output=f"it is {SECRET}", status_message=SECRET)
            raise ValueError(f"no {SECRET}")
    except ValueError:
        pass


def test_nothing_unmasked_reaches_the_journal_or_langfuse(langfuse: Receiver, journal: Path) -> None:
    """Inputs, outputs, metadata and messages of exceptions are masked before they are written anywhere."""
    configure(mask=masked)
    langfuse.refuse()
    record()
    with langfuse_manager.trace_span("open", input=SECRET):
        langfuse_manager.flush(1)
        assert b"query" in files_of(journal)
        assert b"***" in files_of(journal)
        assert SECRET.encode() not in files_of(journal)
    langfuse.listen()
    assert langfuse_manager.flush(20) == (2, 0, 0)
    for exchange in langfuse.requests:
        assert SECRET.encode() not in exchange.request.body
    (query,) = [span for span in langfuse.spans if span.name == "query"]
    assert query.input == {"deep": ["***", {"er": "***"}]}
    assert query.output == "it is ***"


def test_a_mask_that_raises_costs_only_its_value(
    langfuse: Receiver, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The value becomes a marker, everything else arrives, and one warning says so without the value."""

    def broken(*, data: Any) -> Any:
        if SECRET in str(data):
            raise KeyError(SECRET)
        return data

    configure(mask=broken)
    for number in range(3):
        with langfuse_manager.trace_span(f"span {number}", input=SECRET if number == 1 else number) as span:
            span.update(output="fine")
    assert langfuse_manager.flush(20) == (3, 0, 0)
    marker = "[masked: the mask function failed]"
    assert [(span.input, span.output) for span in langfuse.spans] == [(0, "fine"), (marker, "fine"), (2, "fine")]
    assert SECRET.encode() not in files_of(journal)
    assert [found.getMessage() for found in caplog.records] == [
        "The mask function raised KeyError: the value is replaced by a marker"
    ]
    assert SECRET not in caplog.text


@pytest.mark.parametrize("capture", ["full", "truncated", "none"])
def test_capture_says_how_much_is_kept(langfuse: Receiver, journal: Path, capture: str) -> None:
    """`full` keeps payloads up to the limit of a field, `truncated` 2 KiB of each, `none` nothing but markers."""
    configure(capture=capture, max_field_bytes=5_000)
    with langfuse_manager.trace_span("query", input="i" * 4_000, metadata={"kept": "yes"}) as span:
        span.update(output="o" * 9_000)
    assert langfuse_manager.flush(20) == (1, 0, 0)
    (query,) = langfuse.spans
    sizes = {"full": (4_000, 5_000), "truncated": (2_048, 2_048)}
    if capture == "none":
        assert (query.input, query.output) == ("[not captured]", "[not captured]")
        assert b"iiii" not in files_of(journal)
    else:
        given, made = str(query.input), str(query.output)
        assert given.startswith("iiii")
        assert made.startswith("oooo")
        assert len(given) <= sizes[capture][0] + MARKER
        assert len(made) <= sizes[capture][1] + MARKER
        assert (given == "i" * 4_000) == (capture == "full")
        assert made != "o" * 9_000
    kept = "[not captured]" if capture == "none" else "yes"
    assert query.attributes["langfuse.observation.metadata.kept"] == kept


def test_keys_are_nowhere(langfuse: Receiver, journal: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither journal nor log nor repr has a key, not even when the application traces one or Langfuse refuses it."""
    caplog.set_level(logging.DEBUG)
    langfuse.always(status(401))
    secret, public = langfuse.secret_key, langfuse.public_key
    with langfuse_manager.trace_span("leak", input={"key": secret}, metadata={"public": public}) as span:
        span.update(output=f"{public}:{secret}")
    langfuse_manager.flush(1)
    said = caplog.text + repr(settings()) + repr(langfuse_manager) + repr(vars(settings_module.settings()))
    for key in (secret, public):
        assert key.encode() not in files_of(journal)
        assert key not in caplog.text
    assert secret not in said
    langfuse.always(None)
    assert langfuse_manager.flush(20) == (1, 0, 0)
    (leak,) = langfuse.spans
    assert leak.input == {"key": "[a Langfuse key was here]"}
