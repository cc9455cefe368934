"""What the application says in `Langfuse(...)` holds for our rows and for @observe alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langfuse import Langfuse, get_client, observe

from fresh import run_fresh
from langfuse_integration import configure, langfuse_manager
from langfuse_integration.recording import tracing
from peers.otlp import Receiver


@observe()
def work() -> str:
    return "done"


def record() -> None:
    with langfuse_manager.session("s-1", user_id="u-1"), langfuse_manager.trace_span("ours"):
        work()


@pytest.fixture
def ready() -> None:
    """Our provider is in place, whatever came first."""
    tracing.hooks.ready()


@pytest.fixture
def other() -> Iterator[Receiver]:
    """A second project."""
    with Receiver("pk-lf-other", "sk-lf-other") as receiver:
        yield receiver


def arrived(receiver: Receiver, count: int = 2) -> dict[str, dict[str, Any]]:
    return {span.name: span.attributes for span in receiver.wait_for(count)}


def in_code(receiver: Receiver, **values: Any) -> Langfuse:
    return Langfuse(
        public_key=receiver.public_key, secret_key=receiver.secret_key, base_url=receiver.url, timeout=10, **values
    )


@pytest.mark.usefixtures("ready")
def test_environment_and_release_of_the_client_hold(langfuse: Receiver) -> None:
    """Rows recorded after the client was made have its environment and release, also when others came before."""
    with langfuse_manager.trace_span("before"):
        pass
    langfuse_manager.flush(10)
    Langfuse(environment="staging", release="v1")
    record()
    assert langfuse_manager.flush(10).pending == 0
    rows = arrived(langfuse, 3)
    shown = {name: (row.get("langfuse.environment"), row.get("langfuse.release")) for name, row in rows.items()}
    assert shown == {"before": (None, None), "ours": ("staging", "v1"), "work": ("staging", "v1")}
    assert langfuse.doubled() == {}


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("values", [{"tracing_enabled": False}, {"sample_rate": 1e-12}])
def test_a_client_that_sends_nothing_silences_our_rows(values: dict[str, Any], langfuse: Receiver) -> None:
    """Tracing switched off, or no trace sampled: nothing is sent by anybody."""
    Langfuse(**values)
    record()
    assert langfuse_manager.flush(10).pending == 0
    assert langfuse.spans == []


@pytest.mark.parametrize("order", ["client first", "rows first"])
@pytest.mark.parametrize("argument", ["debug=True", ""])
def test_debugging_in_code_logs_our_batches_too(langfuse: Receiver, order: str, argument: str) -> None:
    """`Langfuse(debug=True)` says what a server took of our rows, too; without it nothing is said of success."""
    client = f"from langfuse import Langfuse\nLangfuse({argument})\n"
    rows = """
from langfuse_integration import langfuse_manager
with langfuse_manager.trace_span("one"):
    pass
"""
    first = client + rows if order == "client first" else rows + client + rows
    said = run_fresh(first + "langfuse_manager.flush(30)\n", langfuse.environment())
    assert ("Observations that Langfuse has taken: " in said) is bool(argument)


@pytest.mark.usefixtures("ready")
def test_keys_in_code_are_ours_too(langfuse: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys in the environment the only client's project gets our rows, through the journal."""
    for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY", "LANGFUSE_BASE_URL"):
        monkeypatch.delenv(name)
    configure()
    assert langfuse_manager.mode == "local"
    in_code(langfuse)
    assert langfuse_manager.mode == "langfuse"
    record()
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert langfuse_manager.stats.handed_over == 0
    assert langfuse.trees() == [("ours", ("work",))]


@pytest.mark.usefixtures("ready")
def test_two_projects_in_code_and_none_in_the_settings(
    receiver: Receiver, other: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can tell whose our rows are: they stay local, and one warning names both; each client keeps its own."""
    clients = in_code(receiver), in_code(other)
    with langfuse_manager.trace_span("ours"):
        for client in clients:
            with client.start_as_current_observation(name="theirs"):
                pass
    for client in clients:
        client.flush()
    assert langfuse_manager.flush(10) == (1, 0, 0)
    assert langfuse_manager.mode == "local"
    for project in (receiver, other):
        (span,) = project.wait_for(1)
        assert (span.name, span.attributes.get("langfuse.internal.is_app_root")) == ("theirs", True)
    (message,) = [record.getMessage() for record in caplog.records if "made in code" in record.getMessage()]
    assert receiver.public_key in message
    assert other.public_key in message


@pytest.mark.usefixtures("ready")
def test_two_projects_of_which_the_settings_name_one(langfuse: Receiver, other: Receiver) -> None:
    """Our rows go to the project of the settings; the spans of each client reach its own project, once."""
    first, second = in_code(langfuse), in_code(other)
    with langfuse_manager.trace_span("ours"):
        with first.start_as_current_observation(name="of the first"):
            pass
        with second.start_as_current_observation(name="of the second"):
            pass
    second.flush()
    assert langfuse_manager.flush(10) == (2, 0, 0)
    assert langfuse.trees() == [("ours", ("of the first",))]
    assert [span.name for span in other.wait_for(1)] == ["of the second"]
    assert langfuse.doubled() == other.doubled() == {}


@pytest.mark.usefixtures("ready")
def test_code_is_said_to_hold_against_the_environment(
    langfuse: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A contradiction is one warning that names both values; `configure` goes before both."""
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "production")
    configure()
    Langfuse(environment="staging")
    get_client()
    (message,) = [record.getMessage() for record in caplog.records if "holds" in record.getMessage()]
    assert "environment='staging'" in message
    assert "LANGFUSE_TRACING_ENVIRONMENT='production'" in message
    configure(environment="configured")
    with langfuse_manager.trace_span("ours"):
        pass
    langfuse_manager.flush(10)
    assert arrived(langfuse, 1)["ours"]["langfuse.environment"] == "configured"


@pytest.mark.usefixtures("ready")
def test_sampling_keeps_or_drops_whole_traces(langfuse: Receiver) -> None:
    """Sampling keeps or drops both halves of a trace, also where a client with a mask exports by itself."""
    configure(sample_rate=0.5)
    client = Langfuse(mask=lambda *, data, **_: data, sample_rate=0.5)
    for _ in range(40):
        record()
    langfuse_manager.flush(10)
    client.flush()
    traces: dict[str, list[str]] = {}
    for span in langfuse.spans:
        traces.setdefault(span.trace_id, []).append(span.name)
    assert {tuple(sorted(names)) for names in traces.values()} == {("ours", "work")}
    assert 0 < len(traces) < 40


@pytest.mark.usefixtures("ready")
def test_without_keys_the_sdk_asks_no_server(journal: Path) -> None:
    """`auth_check()` says False, and a score of the SDK is in the journal with its row."""
    with langfuse_manager.session("s-1"), langfuse_manager.trace_span("answer"):
        client = get_client()
        assert client.auth_check() is False
        client.score_current_span(name="quality", value=0.9, comment="good")
        client.score_current_trace(name="verdict", value="fine", data_type="CATEGORICAL")
    assert langfuse_manager.flush(10) == (1, 0, 0)
    configure()  # the worker writes what it has
    with closing(sqlite3.connect(journal)) as connection:
        rows = connection.execute("SELECT name, value, comment, span_id != '' FROM scores ORDER BY name").fetchall()
    assert rows == [("quality", 0.9, "good", 1), ("verdict", "fine", None, 0)]
