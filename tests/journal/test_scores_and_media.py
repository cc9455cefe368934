"""Scores and media: they wait in the journal like observations, and arrive once."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from applications import deliver, run
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.journal.journal import Journal
from peers.misbehaviour import status
from peers.otlp import Receiver
from peers.waiting import until

PICTURE = bytes(range(256)) * 40
URI = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
ID = base64.urlsafe_b64encode(hashlib.sha256(PICTURE).digest()).decode()[:22]
REFERENCE = f"@@@langfuseMedia:type=image/png|id={ID}|source=base64_data_uri@@@"


def waiting(journal: Path) -> dict[str, int]:
    """How many rows of each kind are in the journal."""
    opened = Journal(journal)
    try:
        tables = ("spans", "scores", "media", "media_uses", "open_spans")
        return {table: opened.query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    finally:
        opened.close()


NOTHING = {"spans": 0, "scores": 0, "media": 0, "media_uses": 0, "open_spans": 0}


def test_scores_of_each_kind_arrive(langfuse: Receiver, journal: Path) -> None:
    """Numeric, boolean and categorical scores arrive with the types that Langfuse wants, and leave the journal."""
    with langfuse_manager.trace_span("query") as span:
        span.score("relevance", 0.75, comment="good")
        span.score("polite", True)
        span.score("tone", "warm")
        span.score("broken", float("nan"))
    langfuse_manager.flush(20)
    came = {score["name"]: (score["value"], score["dataType"], score.get("comment")) for score in langfuse.scores}
    assert came == {
        "relevance": (0.75, "NUMERIC", "good"),
        "polite": (1, "BOOLEAN", None),
        "tone": ("warm", "CATEGORICAL", None),
    }
    assert {(score["traceId"], score["observationId"]) for score in langfuse.scores} == {(span.trace_id, span.id)}
    assert len(langfuse.scores) == 3
    assert waiting(journal) == NOTHING


def test_a_score_of_a_session_arrives_as_one(langfuse: Receiver, journal: Path) -> None:
    """A session's score names neither a trace nor an observation; a trace's score names the trace alone."""
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("query") as span:
        langfuse_manager.score("exact", True)
    langfuse_manager.score("helpful", 1, session_id="s-1", comment="thanks")
    assert langfuse_manager.flush(10).pending == 0
    named = ("name", "sessionId", "traceId", "observationId")
    assert sorted(tuple(score.get(key) for key in named) for score in langfuse.scores) == [
        ("exact", None, span.trace_id, None),
        ("helpful", "s-1", None, None),
    ]
    assert waiting(journal)["scores"] == 0


def test_scores_and_media_outlive_an_outage_and_a_kill(receiver: Receiver, journal: Path) -> None:
    """Killed with Langfuse gone: the next process delivers score and picture, each once, with the right ids."""
    code = f"""
        import signal
        with langfuse_manager.trace_span("query", input={{"picture": "{URI}"}}) as span:
            span.score("relevance", 0.5)
        langfuse_manager.flush(1)
        print(span.trace_id, span.id, flush=True)
        until_kept("spans", 1)
        until_kept("scores", 1)
        until_kept("media_uses", 1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    receiver.refuse()
    printed = run(code, journal, receiver, code_of_exit=-9, logged="connection refused")
    assert waiting(journal) == {"spans": 1, "scores": 1, "media": 1, "media_uses": 1, "open_spans": 0}
    receiver.listen()
    deliver(journal, receiver)
    deliver(journal, receiver)
    (query,) = [span for span in receiver.spans if span.name == "query"]
    assert printed.split() == [query.trace_id, query.span_id]
    assert query.input == {"picture": REFERENCE}
    (score,) = receiver.scores
    assert (score["traceId"], score["observationId"], score["value"]) == (query.trace_id, query.span_id, 0.5)
    (announced,) = receiver.api.media_requests
    assert (announced["traceId"], announced["observationId"], announced["field"]) == (
        query.trace_id,
        query.span_id,
        "input",
    )
    assert receiver.api.media == {ID: PICTURE}
    assert waiting(journal) == NOTHING


def test_one_picture_in_many_rows_lies_in_the_journal_once(langfuse: Receiver, journal: Path) -> None:
    """A picture that is repeated is kept and put to its storage once, and announced for each row that shows it."""
    langfuse.refuse()
    for name in "abc":
        with langfuse_manager.trace_span(name, input=URI) as span:
            span.update(output=f"seen: {URI}")
    langfuse_manager.flush(0.5)
    until(lambda: waiting(journal)["media_uses"] == 6, what="the rows in the journal")
    assert waiting(journal) == {"spans": 3, "scores": 0, "media": 1, "media_uses": 6, "open_spans": 0}
    langfuse.listen()
    assert langfuse_manager.flush(20) == (3, 0, 0)
    assert [(span.input, span.output) for span in langfuse.spans] == [(REFERENCE, f"seen: {REFERENCE}")] * 3
    told = sorted((each["observationId"], each["field"]) for each in langfuse.api.media_requests)
    assert told == sorted((span.span_id, field) for span in langfuse.spans for field in ("input", "output"))
    assert langfuse.api.media == {ID: PICTURE}
    assert waiting(journal) == NOTHING


def test_a_picture_in_a_run_that_is_open_for_long_is_told_once(langfuse: Receiver, journal: Path) -> None:
    """The row of what is open brings it already, in case that the process dies; the one at the end only what is new."""
    langfuse.refuse()
    with langfuse_manager.trace_span("query", input=URI) as span:
        until(lambda: journal.exists() and waiting(journal)["open_spans"] == 1, what="the open row")
        assert waiting(journal)["media_uses"] == 1
        span.update(output=f"seen: {URI}")
    langfuse_manager.flush(0.5)
    until(lambda: waiting(journal)["media_uses"] == 2, what="the row in the journal")
    assert waiting(journal) == {"spans": 1, "scores": 0, "media": 1, "media_uses": 2, "open_spans": 0}
    langfuse.listen()
    assert langfuse_manager.flush(20) == (1, 0, 0)
    assert [each["field"] for each in langfuse.api.media_requests] == ["input", "output"]


@pytest.mark.parametrize(
    "text", ["data:image/png;base64,AAAA", "data:image/png;base64,this is no base64!", "a;base64,b"]
)
def test_talk_about_media_stays_as_it_is(langfuse: Receiver, text: str) -> None:
    """What is too short, or no base64, is text."""
    with langfuse_manager.trace_span("query", input=text):
        pass
    assert langfuse_manager.flush(20) == (1, 0, 0)
    assert [span.input for span in langfuse.spans] == [text]
    assert langfuse.api.media_requests == []


def test_media_can_be_left_where_they_are(langfuse: Receiver) -> None:
    """LANGFUSE_MEDIA_UPLOAD_ENABLED=false uploads nothing."""
    configure(media_upload=False)
    with langfuse_manager.trace_span("query", input=URI):
        pass
    assert langfuse_manager.flush(20) == (1, 0, 0)
    assert [span.input for span in langfuse.spans] == [URI]
    assert langfuse.api.media_requests == []


def test_observations_do_not_wait_for_scores(
    langfuse: Receiver, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the API for scores fails, observations go through; the scores come later, once."""
    kept = langfuse.api.answer
    monkeypatch.setattr(langfuse.api, "answer", lambda request, url: status(503)(None))  # type: ignore[arg-type]
    with langfuse_manager.trace_span("query") as span:
        span.score("relevance", 1)
    assert langfuse_manager.flush(5) == (1, 0, 0)
    assert waiting(journal) == {**NOTHING, "scores": 1}
    monkeypatch.setattr(langfuse.api, "answer", kept)
    langfuse_manager.flush(5)
    configure()
    with langfuse_manager.trace_span("next"):
        pass
    langfuse_manager.flush(20)
    assert [score["name"] for score in langfuse.scores] == ["relevance"]
