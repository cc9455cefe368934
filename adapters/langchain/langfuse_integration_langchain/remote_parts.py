"""The parts that a remote graph streams, and the output that they come to."""

from __future__ import annotations

from typing import Any

LIMIT = 1_000
"""The most parts that are kept of one call, without the tokens of messages, which are put together."""


class RemoteParts:
    """What one call of a remote graph has streamed.

    Args:
        options: of the call; they say in which form the parts come.

    Attributes:
        interrupted: the graph waits for an answer.
    """

    __slots__ = ("_mode", "_options", "_rest", "_state", "_texts", "interrupted")

    def __init__(self, options: dict[str, Any]) -> None:
        mode = options.get("stream_mode") or "updates"
        self._mode = mode if isinstance(mode, str) else None
        self._options = options
        self._state: Any = None
        self._rest: list[Any] = []
        self._texts: dict[Any, dict[str, Any]] = {}
        self.interrupted = False

    def take(self, chunk: Any) -> None:
        """Keep one part."""
        mode, inner, data, interrupts = self._read(chunk)
        if interrupts or (isinstance(data, dict) and data.get("__interrupt__")):
            self.interrupted = True
        if mode == "values":
            self._state = self._state if inner else data
        elif mode.startswith("messages") and isinstance(data, tuple) and data and isinstance(data[0], dict):
            self._add_text(data[0])
        elif len(self._rest) < LIMIT:
            self._rest.append(data)

    def output(self) -> Any:
        """Return the last state, if states were streamed; else the messages or the other parts, or None."""
        if self._state is not None:
            return self._state
        if self._texts and not self._rest:
            return {"messages": list(self._texts.values())}
        return [*self._rest, *self._texts.values()] or None

    def _read(self, chunk: Any) -> tuple[str, bool, Any, Any]:
        """Return mode, whether the part is of a graph inside, data and interrupts of a part (langgraph 1.0 to 1.2)."""
        if self._options.get("version") == "v2":
            return chunk["type"], bool(chunk["ns"]), chunk["data"], chunk["interrupts"]
        if self._options.get("subgraphs"):
            mode = self._mode or chunk[1]
            return mode, bool(chunk[0]), chunk[-1], ()
        if self._mode is not None:
            return self._mode, False, chunk, ()
        return chunk.event, "|" in chunk.event, chunk.data, ()

    def _add_text(self, message: dict[str, Any]) -> None:
        """Put the token of a message behind those that came before."""
        known = self._texts.get(message.get("id"))
        if known is None:
            self._texts[message.get("id")] = dict(message)
            return
        content = message.get("content")
        if isinstance(content, (str, list)) and isinstance(known.get("content"), type(content)):
            known["content"] = known["content"] + content
