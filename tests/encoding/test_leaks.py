"""Nothing leaks: a secret planted wherever an application or an instrumentation can put content is in no raw byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import Link, Status, StatusCode

from langfuse_integration import configure, langfuse_manager, runtime
from langfuse_integration.encoding.row import Encoder
from langfuse_integration.internals.setting_values import Secret
from langfuse_integration.recording import tracing
from langfuse_integration.settings import Settings, address_of
from peers.otlp import Receiver

SECRET = "alpaca-4711-secret"
MASKED = "hidden-by-the-mask"
CAPTURED = "visible-0815-words"
"""Content without a secret, which a mask leaves alone."""


def masked(*, data: Any, **_: Any) -> Any:
    """What an application gives as `mask`: walks through containers, and hides the secret."""
    if isinstance(data, str):
        return data.replace(SECRET, MASKED)
    if isinstance(data, dict):
        return {masked(data=key): masked(data=value) for key, value in data.items()}
    return [masked(data=value) for value in data] if isinstance(data, list) else data


class Thing:
    """An object of the application that shows its content."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return f"Thing({self.text})"


Plant = Callable[[str], None]


def span_with(**values: Callable[[str], Any]) -> Plant:
    """Return a place in an observation of ours."""

    def plant(text: str) -> None:
        with langfuse_manager.trace_span("planted", as_type="generation") as span:
            span.update(**{name: make(text) for name, make in values.items()})

    return plant


def foreign(key: str, make: Callable[[str], Any] = str, scope: str = "openinference.instrumentation.any") -> Plant:
    """Return a place in a span of another instrumentation."""

    def plant(text: str) -> None:
        with trace.get_tracer(scope).start_as_current_span("foreign") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute(key, make(text))

    return plant


def failing(text: str) -> None:
    """An exception of the application's own leaves a span of ours."""
    try:
        with langfuse_manager.trace_span("fails"):
            raise ValueError(f"{text} is wrong")
    except ValueError:
        pass


def foreign_failure(text: str) -> None:
    """An exception, an event, a status and a link of another instrumentation's span."""
    context = trace.SpanContext(1, 2, False)
    tracer = trace.get_tracer("openinference.instrumentation.any")
    with tracer.start_as_current_span("foreign", links=[Link(context, {"because": text})]) as span:
        span.set_attribute("gen_ai.operation.name", "chat")
        span.record_exception(ValueError(text), {"exception.note": text})
        span.add_event("gen_ai.user.message", {"content": text, "parts": [text]})
        span.add_event("anything", {"x": text})
        span.set_status(Status(StatusCode.ERROR, text))


def through_otel(text: str) -> None:
    """OpenTelemetry's API on an observation of ours: attributes, events, links, status, an exception."""
    with langfuse_manager.trace_span("planted") as span:
        span.set_attribute("my.note", text)
        span.set_attribute("langfuse.observation.metadata.note", text)
        span.set_attribute("langfuse.trace.metadata.note", text)
        span.set_attributes({"my.notes": [text, text], "input.value": text})
        span.add_event("noted", {"what": text})
        span.record_exception(RuntimeError(text))


def scored(text: str) -> None:
    """A score's comment."""
    with langfuse_manager.trace_span("planted") as span:
        span.score("good", 1.0, comment=text)


PLACES: dict[str, Plant] = {
    "input text": span_with(input=str),
    "input deep": span_with(input=lambda text: {"a": [{"b": (text,)}]}),
    "input object": span_with(input=Thing),
    "input key": span_with(input=lambda text: {text: 1}),
    "input bytes": span_with(input=lambda text: text.encode()),
    "input error": span_with(input=ValueError),
    "output": span_with(output=lambda text: [text]),
    "status message": span_with(level=lambda _: "ERROR", status_message=lambda text: f"failed: {text}"),
    "metadata": span_with(metadata=lambda text: {"note": text}),
    "metadata deep": span_with(metadata=lambda text: {"note": {"a": [text]}}),
    "metadata alone": span_with(metadata=lambda text: [text]),
    "model parameters": span_with(model_parameters=lambda text: {"stop": [text], "temperature": 0.5}),
    "exception": failing,
    "OpenTelemetry's API": through_otel,
    "score comment": scored,
    "agent step": lambda text: (
        langfuse_manager.trace_agent_step("think", text, {"x": text}, metadata={"n": text}) and None
    ),
    "MCP call": lambda text: langfuse_manager.trace_mcp_call("srv", {"q": text}, [text], metadata={"n": text}) and None,
    "foreign failure": foreign_failure,
    **{
        f"foreign {key}": foreign(key)
        for key in (
            *("input.value", "output.value", "llm.input_messages.0.message.content", "llm.output_messages.0.message"),
            *(
                "llm.prompt_template.template",
                "llm.prompt_template.variables",
                "llm.invocation_parameters",
                "llm.tools",
            ),
            *("tool.parameters", "tool.description", "retrieval.documents.0.document.content", "metadata"),
            *("embedding.embeddings.0.embedding.text", "reranker.query", "tool_call.function.arguments"),
            *(
                "gen_ai.input.messages",
                "gen_ai.output.messages",
                "gen_ai.prompt.0.content",
                "gen_ai.completion.0.content",
            ),
            *("gen_ai.system_instructions", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
            *("gen_ai.tool.definitions", "gen_ai.tool.description", "gen_ai.request.stop_sequences"),
            *("traceloop.entity.input", "traceloop.entity.output", "mcp.request.argument.query", "mcp.response.value"),
            *("langfuse.observation.input", "langfuse.trace.output", "langfuse.observation.metadata.note"),
            *("langfuse.trace.metadata.note", "langfuse.observation.status_message", "db.statement", "http.url"),
            *("langfuse.observation.model.parameters", "something.new.of.2027", "exception.message"),
        )
    },
    "foreign list": foreign("llm.prompts", lambda text: [text, text]),
    "foreign unknown list": foreign("something.new", lambda text: [text]),
    "SDK metadata": foreign("langfuse.observation.metadata.note", lambda text: f'"{text}"', "langfuse-sdk"),
}


def files_of(journal: Path) -> bytes:
    """Every byte of every file beside the journal."""
    return b"".join(path.read_bytes() for path in journal.parent.rglob("*") if path.is_file())


def sent(langfuse: Receiver) -> bytes:
    """Every byte of every request that Langfuse got, unpacked."""
    return b"".join(exchange.request.body for exchange in langfuse.requests)


@pytest.mark.parametrize("capture", ["full", "truncated", "none", "metrics"])
def test_a_planted_secret_is_nowhere(langfuse: Receiver, journal: Path, capture: str) -> None:
    """No place for content leaks a secret under a mask, nor, without a mask, where content is not captured."""
    masks = capture in ("full", "truncated")
    configure(capture=capture, mask=masked if masks else None, keep_delivered=True)
    langfuse_manager.set_session("s-1", "u-1", metadata={"note": SECRET})
    for plant in PLACES.values():
        plant(SECRET)
    with langfuse_manager.trace_span("open", input=SECRET, metadata={"note": SECRET}):
        assert langfuse_manager.flush(20).lost == 0
        everything = files_of(journal) + sent(langfuse)
        assert SECRET.encode() not in everything
        assert b"s-1" in everything
        assert (MASKED.encode() in everything) == masks
    assert langfuse_manager.flush(20).pending == 0
    assert SECRET.encode() not in files_of(journal) + sent(langfuse)


@pytest.mark.parametrize("place", PLACES)
def test_content_is_where_it_was_put(place: str) -> None:
    """Each place really holds content: with everything captured, its words are in the row, or in the score."""
    assert CAPTURED.encode() in encoded(place, CAPTURED, {"capture": "full"})


@given(
    st.lists(st.sampled_from(sorted(PLACES)), min_size=1, max_size=3, unique=True),
    st.sampled_from(["full", "truncated", "none", "metrics"]),
    st.sampled_from([SECRET, SECRET * 400, f"Error: {SECRET}", f"\n{SECRET}\u20ac", f'{{"a": "{SECRET}"}}']),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_place_leaks_in_any_form(places: list[str], capture: str, text: str) -> None:
    """Whatever form a secret has, no row's bytes hold it."""
    given = {"capture": capture, "mask": masked} if capture in ("full", "truncated") else {"capture": capture}
    for place in places:
        assert SECRET.encode() not in encoded(place, text, given)


def encoded(place: str, text: str, given: dict[str, Any]) -> bytes:
    """Return the rows and the score that *place* makes of *text*, as bytes."""
    encoder = Encoder.from_settings(Settings(**given))
    records: list[Any] = []
    scores: list[Any] = []
    runtime.ready()
    recorder = tracing.recorder
    original = recorder.record, recorder.score
    recorder.record, recorder.score = records.append, scores.append  # type: ignore[method-assign]
    try:
        PLACES[place](text)
    finally:
        recorder.record, recorder.score = original  # type: ignore[method-assign]
    rows = b"".join(encoder.encode(record).body for record in records)
    return rows + repr([encoder.score(score).comment for score in scores]).encode()


def test_metrics_hold_ids_types_times_tokens_and_cost(langfuse: Receiver) -> None:
    """With `metrics`, a row has nothing else, whoever made it, and its name is its type."""
    configure(capture="metrics")
    with (
        langfuse_manager.session("s-1", "u-1", tags=["vip"], metadata={"plan": "free"}, trace_name="checkout"),
        langfuse_manager.trace_span("ask", as_type="generation", input="?", metadata={"note": 1}) as span,
    ):
        span.update(model="gpt-4o", usage_details={"input": 3, "output": 2}, model_parameters={"temperature": 0})
        with trace.get_tracer("openinference.instrumentation.any").start_as_current_span("foreign") as other:
            other.set_attributes(
                {"gen_ai.operation.name": "execute_tool", "gen_ai.usage.input_tokens": 7, "my.number": 3}
            )
            other.add_event("noted", {"what": "it"})
    assert langfuse_manager.flush(20) == (2, 0, 0)
    ask = next(row for row in langfuse.spans if row.name == "generation")
    assert ask.attributes == {
        "session.id": "s-1",
        "gen_ai.conversation.id": "s-1",
        "user.id": "u-1",
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-4o",
        "langfuse.observation.usage_details": '{"input":3,"output":2}',
    }
    other_row = next(row for row in langfuse.spans if row.name == "span")
    assert {key: value for key, value in other_row.attributes.items() if key != "langfuse.internal.is_app_root"} == {
        "session.id": "s-1",
        "user.id": "u-1",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.usage.input_tokens": 7,
    }


def test_without_content_the_structure_stays(langfuse: Receiver) -> None:
    """With `none`, names, tags, steps and kinds of errors stay: the tree reads as it does with content."""
    configure(capture="none")
    with langfuse_manager.session("s-1", tags=["vip"]):
        langfuse_manager.trace_agent_step("think", "?", "!")
        failing("words")
    assert langfuse_manager.flush(20) == (2, 0, 0)
    step, failed = sorted(langfuse.spans, key=lambda row: row.name, reverse=True)
    assert (step.name, step.attributes["langfuse.observation.metadata.step_type"]) == ("think", "think")
    assert step.attributes["langfuse.trace.tags"] == ["vip"]
    assert (step.input, step.output) == ("[not captured]", "[not captured]")
    assert failed.attributes["langfuse.observation.status_message"] == "ValueError"


def test_names_are_masked_when_asked(langfuse: Receiver) -> None:
    """`mask_names` gives names and tags to the mask, too; by default they stay."""
    for mask_names in (False, True):
        configure(mask=masked, mask_names=mask_names)
        with langfuse_manager.session("s-1", tags=[SECRET]), langfuse_manager.trace_span(SECRET):
            pass
        assert langfuse_manager.flush(20).pending == 0
        row = langfuse.spans[-1]
        shown = MASKED if mask_names else SECRET
        assert (row.name, row.attributes["langfuse.trace.tags"]) == (shown, [shown])


@pytest.mark.parametrize(
    "text", ["\u20ac" * 5_000, "a" * 9_000, "\ud800" * 3_000, "ab\u20ac" * 2_000, "\n\x01" * 3_000]
)
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {"a": [text, text]}], ids=["text", "nested"])
def test_the_limit_of_a_field_counts_bytes(text: str, wrap: Callable[[str], Any]) -> None:
    """A text of many-byte characters is cut by its bytes, at the end of a character."""
    encoder = Encoder.from_settings(Settings(max_field_bytes=5_000))
    with langfuse_manager.trace_span("long", input=wrap(text)) as span:
        pass
    written = encoder.attributes(span)["langfuse.observation.input"].encode()
    assert 4_900 < len(written) < 5_200
    assert b"[cut: " in written


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://langfuse.example", "https://langfuse.example"),
        ("https://me:pass@langfuse.example:8443/sub", "https://langfuse.example:8443/sub"),
        ("https://me:pa@ss/word@langfuse.example", "https://langfuse.example"),
        ("me:pass@langfuse.example", "langfuse.example"),
        ("redis://:pass@cache:6379/0", "redis://cache:6379/0"),
        ("https://[::1", "https://[::1"),
    ],
)
def test_a_password_in_an_address_is_not_shown(url: str, shown: str) -> None:
    """Whatever form it has, only the rest of the address is shown, in the settings' repr as well."""
    assert address_of(url) == shown
    text = repr(Settings(base_url=url, store=url, journal="off"))
    assert shown in text
    assert "pass" not in text
    assert "word@" not in text


@pytest.mark.parametrize(("key", "kept"), [("test", True), ("secret", True), ("sk-lf-1234", False), ("k" * 16, False)])
def test_only_what_is_long_enough_to_be_a_key_is_cut_out(key: str, kept: bool) -> None:
    """A self-hosted project may have an ordinary word as its key: ordinary texts stay whole."""
    encoder = Encoder.from_settings(Settings(public_key="pk-lf-0123456789", secret_key=Secret(key)))
    with langfuse_manager.trace_span("ask", input=f"The latest {key} of the garden") as span:
        pass
    assert (key in encoder.attributes(span)["langfuse.observation.input"]) == kept
