"""OpenTelemetry's SDK is built ahead or beside, and never breaks or blocks the application's own call."""

from __future__ import annotations

import pytest

from fresh import run_fresh

SPANS = """
    import asyncio, threading, time
    from opentelemetry import trace
    from langfuse_integration import langfuse_manager
    from langfuse_integration.langfuse_sdk.provider import AmbientProvider, provider

    threads = []
    build = AmbientProvider.sdk
    def recorded(self):
        if self.behind is None:
            threads.append(threading.current_thread() is threading.main_thread())
        return build(self)
    AmbientProvider.sdk = recorded

    async def main():
        with langfuse_manager.session("s-1"), langfuse_manager.trace_span("outer") as outer:
            with trace.get_tracer("some.library").start_as_current_span("theirs", attributes=ATTRIBUTES) as span:
                print("recording", span.is_recording())
                with langfuse_manager.trace_span("inner") as inner:
                    print("below outer", inner.parent == outer.span, inner.session.session_id)
        deadline = time.monotonic() + 20
        while provider.behind is None and not provider._failed and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        with trace.get_tracer("some.library").start_as_current_span("later") as span:
            print("recording", span.is_recording())
        print("in the main thread", threads)

    asyncio.run(main())
"""


def test_an_event_loop_does_not_wait_for_the_sdk() -> None:
    """A span that Langfuse does not want records nothing until the SDK is built on another thread."""
    printed = run_fresh("    ATTRIBUTES = {}" + SPANS)
    assert printed.splitlines() == [
        "recording False",
        "below outer True s-1",
        "recording True",
        "in the main thread [False]",
    ]


def test_a_span_of_a_model_call_waits_for_the_sdk() -> None:
    """What Langfuse wants is not missed, in an event loop either."""
    printed = run_fresh("    ATTRIBUTES = {'gen_ai.system': 'x'}" + SPANS)
    assert printed.splitlines() == [
        "recording True",
        "below outer False s-1",
        "recording True",
        "in the main thread [True]",
    ]


@pytest.mark.parametrize("attributes", ["{}", "{'gen_ai.system': 'x'}"])
def test_an_sdk_that_cannot_be_built_is_reported_once(attributes: str) -> None:
    """With a bad OTEL variable the library's call works, its span records nothing, and our rows are there."""
    printed = run_fresh(f"    ATTRIBUTES = {attributes}" + SPANS, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"})
    lines = printed.splitlines()
    assert lines[:3] == ["recording False", "below outer True s-1", "recording False"]
    assert printed.count("failed while building OpenTelemetry's SDK; tracing only is affected") == 1
