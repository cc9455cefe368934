"""Streamed answers: when the first token came, and the parts that had come when the answer was given up."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.registry import Run


def token(run: Run, text: Any, chunk: Any) -> None:
    """Keep a part of an answer; the answer begins with the first part that holds text, a tool call or thoughts.

    A later part costs one append: LangChain keeps the same objects until the answer is complete.
    """
    part = text if chunk is None else chunk
    parts = run.state.parts
    if parts is None:
        run.state.parts = [part]
    elif parts[-1] is not part or chunk is None:  # a second handler passes the same part again
        parts.append(part)
    if not run.observation.first_token_ns and (text or _has_content(chunk)):
        run.observation.first_token()


def event(run: Run, stream_event: Any) -> None:
    """Keep a part of an answer that LangChain's v3 streams pass as an event instead of a token."""
    if stream_event.get("event") == "content-block-delta":
        token(run, stream_event, stream_event)


def _has_content(chunk: Any) -> bool:
    """Return whether a part without text holds a tool call, or thoughts."""
    message = getattr(chunk, "message", None)
    return bool(message is not None and (getattr(message, "tool_call_chunks", None) or message.additional_kwargs))
