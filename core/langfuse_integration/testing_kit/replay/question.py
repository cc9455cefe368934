"""A question: what a seam asks the recording for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...recording.observation import Observation

QuestionKind = Literal["model", "mcp", "tool", "retriever", "embedding"]
KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)
LIVE_BY_DEFAULT: frozenset[QuestionKind] = frozenset({"tool", "retriever", "embedding"})
"""What is part of the application itself, and answers from the recording only where a replay asks for that."""


@dataclass(frozen=True, slots=True)
class Question:
    """One call of the application that the recording is to answer.

    Attributes:
        kind: `model` for a language model; `mcp` for a request to an MCP server; `tool`, `retriever` and `embedding`
            for those of the application.
        name: of the model's class; of the request: `tools/call search`, `resources/read file:///a`; else of the row.
        observation: the running row of the call: its place in the tree, and its input as it will be recorded.
        input: the input to compare where the row's input is another one, as that of a framework's tool around an MCP
            call; None takes the row's.
        settings: what is asked beside the input, such as `{"model": ..., "parameters": {...}}`, to compare with the
            entry `asked` of the exact form.
        server: the name of the MCP server that is asked, or None.
        server_is_certain: another recorded server is a divergence.
    """

    kind: QuestionKind
    name: str
    observation: Observation | None
    input: Any = None
    settings: Mapping[str, Any] | None = None
    server: str | None = None
    server_is_certain: bool = False

    @property
    def value(self) -> Any:
        """The input to compare."""
        return self.observation.input if self.input is None and self.observation is not None else self.input
