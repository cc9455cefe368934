"""Answers that arrive in parts: when they begin, and what had come when they are given up."""

from __future__ import annotations

from typing import Any

from langfuse_integration.recording.registry import Run


def token(run: Run, text: Any, chunk: Any) -> None:
    """Take a part of an answer; the first one with something in it is when the answer begins.

    After that, a part costs one append: LangChain holds the same objects until the answer is complete.
    """
    part = text if chunk is None else chunk
    parts = run.state.parts
    if parts is None:
        run.state.parts = [part]
    elif parts[-1] is not part or chunk is None:  # another handler may have been told before
        parts.append(part)
    if not run.observation.first_token_ns and (text or _says(chunk)):
        run.observation.first_token()


def event(run: Run, told: Any) -> None:
    """Take an event of LangChain's v3 streams, where no tokens are told."""
    if told.get("event") == "content-block-delta":
        token(run, told, told)


def _says(chunk: Any) -> bool:
    """Return whether a part without text says something all the same: a tool call, or thoughts."""
    message = getattr(chunk, "message", None)
    return bool(message is not None and (getattr(message, "tool_call_chunks", None) or message.additional_kwargs))
