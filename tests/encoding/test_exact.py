"""The exact form of answers: in the journal where rows stay, masked, and in no byte that leaves."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typer.testing import CliRunner

from langfuse_integration import configure, langfuse_manager
from langfuse_integration.cli.app import app
from langfuse_integration.destinations import OtlpDestination
from langfuse_integration.encoding import fields, otlp
from langfuse_integration.encoding.row import Encoder
from langfuse_integration.export.http import LangfuseHttp
from langfuse_integration.export.push import push
from langfuse_integration.internals.setting_values import Secret
from langfuse_integration.reading.archive import Archive
from langfuse_integration.settings import Settings
from peers.otlp import Receiver

CONTENT = "the exact words 4711"
KEY = otlp.EXACT.encode()


def answer(content: Any = CONTENT, session: str = "s-1") -> None:
    """Record a generation with an exact form."""
    with langfuse_manager.session(session), langfuse_manager.trace_span("ask", as_type="generation") as span:
        span.exact = lambda: {"form": "test.chat", "content": content}  # type: ignore[attr-defined]


def exact_forms(journal: Path, session: str = "s-1") -> list[Any]:
    """Return the exact forms in the journal."""
    with Archive(journal) as archive:
        return [row.exact for row in archive.replay(session).observations]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, True),
        ({"replayable": False}, False),
        ({"capture": "truncated"}, False),
        ({"capture": "none"}, False),
        ({"capture": "metrics"}, False),
    ],
)
def test_in_mode_local_answers_are_kept_exactly(journal: Path, given: dict[str, Any], kept: bool) -> None:
    """Without keys the exact form is in the journal, unless it is switched off or content is not captured in full."""
    configure(**given)
    answer()
    assert langfuse_manager.flush(20).lost == 0
    assert exact_forms(journal) == [{"form": "test.chat", "content": CONTENT} if kept else None]


@pytest.mark.parametrize(
    ("given", "kept"), [({}, False), ({"keep_delivered": True}, True), ({"replayable": True}, True)]
)
def test_with_keys_answers_are_kept_exactly_where_rows_stay(given: dict[str, Any], kept: bool) -> None:
    """With keys the exact form is kept with `keep_delivered`, or where `replayable` asks for it."""
    assert Settings(public_key="pk", secret_key=Secret("sk"), **given).records_exact == kept


@pytest.mark.parametrize("size", [10, 40_000])
def test_no_byte_of_an_exact_form_reaches_langfuse(langfuse: Receiver, journal: Path, size: int) -> None:
    """Rows of any size are sent without the exact form, which stays in the journal; nothing else of a row changes."""
    configure(keep_delivered=True)
    for number in range(3):
        answer(f"{number} {CONTENT} " + "x" * size)
    assert langfuse_manager.flush(20) == (3, 0, 0)
    sent = b"".join(exchange.request.body for exchange in langfuse.requests)
    assert CONTENT.encode() not in sent
    assert KEY not in sent
    assert [form["content"][:1] for form in exact_forms(journal)] == ["0", "1", "2"]
    assert len(langfuse.spans) == 3
    assert all("langfuse.observation.type" in span.attributes for span in langfuse.spans)


def test_rows_of_mode_local_are_pushed_without_it(receiver: Receiver, journal: Path) -> None:
    """What was recorded without keys goes to Langfuse later, and the exact form still does not."""
    answer()
    assert langfuse_manager.flush(20).lost == 0
    configure(public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url)
    assert push(path=journal).delivered == 1
    sent = b"".join(exchange.request.body for exchange in receiver.requests)
    assert sent
    assert KEY not in sent
    assert CONTENT.encode() not in sent


def test_other_destinations_get_rows_without_it(receiver: Receiver, journal: Path) -> None:
    """A destination that takes OTLP gets no byte of the exact form."""
    configure(
        destinations=[OtlpDestination(receiver.traces_url, headers={"Authorization": receiver_authorization(receiver)})]
    )
    answer("x" * 20_000 + CONTENT)
    langfuse_manager.flush(20)
    receiver.wait_for(1)
    sent = b"".join(exchange.request.body for exchange in receiver.requests)
    assert CONTENT.encode() not in sent
    assert KEY not in sent
    assert exact_forms(journal) != [None]


def receiver_authorization(receiver: Receiver) -> str:
    """Return the header with the receiver's keys."""
    return "Basic " + base64.b64encode(f"{receiver.public_key}:{receiver.secret_key}".encode()).decode()


def test_an_exported_session_is_without_it(journal: Path) -> None:
    """OTLP JSON for other tools does not hold the exact form."""
    answer()
    assert langfuse_manager.flush(20).lost == 0
    result = CliRunner().invoke(app, ["export", "s-1"])
    assert '"ask"' in result.output
    assert CONTENT not in result.output


def test_masks_hold_for_the_exact_form(journal: Path) -> None:
    """The mask gets the exact form as plain values, and unmasked content is in no file."""
    configure(mask=lambda data, **_: {**data, "content": "***"} if isinstance(data, dict) else data)
    answer()
    assert langfuse_manager.flush(20).lost == 0
    assert exact_forms(journal) == [{"form": "test.chat", "content": "***"}]
    files = [path for path in journal.parent.glob("journal*") if path.is_file()]
    assert CONTENT.encode() not in b"".join(path.read_bytes() for path in files)


def test_a_mask_that_fails_leaves_a_marker(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact form of which the mask raises becomes a marker."""

    def failing(**_: Any) -> Any:
        raise ValueError("no")

    configure(mask=failing)
    answer()
    assert langfuse_manager.flush(20).lost == 0
    assert exact_forms(journal) == [fields.MASK_FAILED]


def test_an_answer_that_is_too_large_leaves_its_size(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an exact form would be of no use: beyond the limit only the size is kept."""
    monkeypatch.setattr(fields, "EXACT_BYTES", 1_000)
    answer("x" * 990)
    answer("x" * 5_000, session="s-2")
    assert langfuse_manager.flush(20).lost == 0
    [form] = exact_forms(journal, "s-2")
    assert form.keys() == {"too_large"}
    [marker] = exact_forms(journal)
    assert marker.keys() == {"too_large"}  # with the rest of the form it is more than the limit


def test_a_langfuse_key_is_cut_out_of_it() -> None:
    """An exact form holds no key of the project."""
    encoder = Encoder.from_settings(
        Settings(public_key="pk-lf-0123456789", secret_key=Secret("sk-lf-1"), replayable=True)
    )
    with langfuse_manager.trace_span("ask") as span:
        span.exact = lambda: {"content": "my key is pk-lf-0123456789"}  # type: ignore[attr-defined]
    assert b"pk-lf-0123456789" not in encoder.encode(span).body


def test_text_search_does_not_find_what_people_do_not_see(journal: Path) -> None:
    """A search looks at what is shown of an observation, not at the exact form."""
    answer()
    langfuse_manager.flush(20)
    result = CliRunner().invoke(app, ["show", "s-1", "--full"])
    assert CONTENT not in result.output


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, 3)), min_size=1, max_size=5))
def test_what_is_left_is_the_row_without_it(plan: list[tuple[bool, int, int]]) -> None:
    """Requests in any number, with and without it, and with its name in other texts, are the same but for it."""
    encoder = Encoder.from_settings(Settings(replayable=True))
    without = Encoder.from_settings(Settings(replayable=False))
    kept, expected = b"", b""
    for has_exact, size, mentions in plan:
        text = " ".join([otlp.EXACT] * mentions + ["\n\x1a" + otlp.EXACT] * (mentions == 3))
        with langfuse_manager.trace_span("ask", input=text, metadata={otlp.EXACT: text}) as span:
            if has_exact:
                span.exact = lambda size=size: {"content": "x" * size}  # type: ignore[attr-defined]
        kept += encoder.encode(span).body
        expected += without.encode(span).body
    stripped = otlp.without_exact(kept)
    assert ExportTraceServiceRequest.FromString(stripped) == ExportTraceServiceRequest.FromString(expected)


def test_a_damaged_row_is_refused_instead_of_sent() -> None:
    """Where the attribute cannot be removed, nothing is sent: the request is answered as if the server refused it."""
    encoder = Encoder.from_settings(Settings(replayable=True))
    with langfuse_manager.trace_span("ask") as span:
        span.exact = lambda: {"content": CONTENT}  # type: ignore[attr-defined]
    body = encoder.encode(span).body
    http = LangfuseHttp(Settings(public_key="pk", secret_key=Secret("sk"), base_url="http://127.0.0.1:9"))
    assert http.spans(b"\xff\xff" + body).status == 400


def test_removing_it_costs_little(journal: Path) -> None:
    """A batch without any exact form is sent as it is: the same object, without a copy."""
    encoder = Encoder.from_settings(Settings(replayable=False))
    with langfuse_manager.trace_span("ask", input="x" * 1_000) as span:
        pass
    body = encoder.encode(span).body
    assert otlp.without_exact(body) is body
