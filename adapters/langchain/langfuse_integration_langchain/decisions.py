"""Calls of decision models: runnables that answer typed questions, announced as chains of the kind `llm`.

LangChain's `BaseDecisionModel` (langchain-core 1.8) is one; any runnable may announce itself so. The model's name is in
the run's metadata, as for chat models, and the answer carries the usage and the name of the model that answered.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from langfuse_integration.encoding.usage import first_buckets
from langfuse_integration.recording.observation import Observation

from .models import asked_model
from .notes import NOTHING, RunNotes
from .states import ChainState

MODEL_KIND = "llm"
"""LangChain's `run_type` of a runnable that calls a model."""


class DecisionCall(RunNotes):
    """Metadata of the call of a decision model, and what its answer says about the model and the tokens."""

    __slots__ = ()

    @override
    def __call__(self, observation: Observation) -> None:
        super().__call__(observation)
        observation.model = observation.asked_model = asked_model(self.metadata, NOTHING)
        answer = observation.output
        model, request_id = _told(answer, "model"), _told(answer, "request_id")
        if isinstance(model, str) and model:
            observation.model = model
        observation.usage_details = first_buckets([_told(answer, "usage")], observation.model) or None
        if isinstance(request_id, str) and request_id:
            observation.metadata = {**(observation.metadata or {}), "response_id": request_id}


def announced(state: ChainState) -> None:
    """Make the row of a chain run that calls a model a generation."""
    state.type = "generation"
    state.notes = DecisionCall


def _told(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else getattr(answer, name, None)
