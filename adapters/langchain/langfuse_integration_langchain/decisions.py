"""Calls of decision models: runnables that answer typed questions, announced as chains of the kind `llm`.

LangChain's `BaseDecisionModel` (langchain-core 1.8) is one; any runnable may announce itself so. The model's name is in
the run's metadata, as for chat models, and the answer carries the usage and the name of the model that answered; an
answer that is a message is read as that of a chat model.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langfuse_integration.encoding import object_form
from langfuse_integration.encoding.error_form import error_form
from langfuse_integration.encoding.usage import first_buckets
from langfuse_integration.recording.noted import as_it_was
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run

from . import models
from .models import asked_model
from .notes import NOTHING, Notes
from .states import ChainState

MODEL_KIND = "llm"
"""LangChain's `run_type` of a runnable that calls a model."""
DECISION = "langchain.decision"
"""The name of the exact form: `{"form": ..., "result" or "error": form, "asked": {"model": ...}}`."""


class DecisionCall:
    """Metadata of the call of a decision model, and what its answer says about the model and the tokens.

    Args:
        notes: puts the run's metadata and tags into the row.

    Attributes:
        failure: the exact form of the exception that ended the call, or None.
        asks_another: a model with a row of its own runs below, which has the tokens.
    """

    __slots__ = ("answer", "asks_another", "failure", "metadata", "notes")

    def __init__(self, metadata: dict[str, Any], notes: Notes) -> None:
        self.metadata = metadata
        self.notes = notes
        self.answer: Any = None
        self.asks_another = False
        self.failure: dict[str, Any] | None = None

    def __call__(self, observation: Observation) -> None:
        """Write what the answer says into the row."""
        self.notes(observation)
        observation.model = observation.asked_model = asked_model(self.metadata, NOTHING)
        answer = self.answer = as_it_was(observation.output)
        if self.failure is not None or answer is not None:
            observation.exact = self.exact
        if isinstance(answer, BaseMessage):
            result = LLMResult(generations=[[ChatGeneration(message=answer)]])
            models.read(observation, models.ModelAnswer(result))
            if self.asks_another:
                observation.usage_details = None
            return
        model, request_id = _told(answer, "model"), _told(answer, "request_id")
        if isinstance(model, str) and model:
            observation.model = model
        if not self.asks_another:
            observation.usage_details = first_buckets([_told(answer, "usage")], observation.model) or None
        if isinstance(request_id, str) and request_id:
            observation.metadata = {**(observation.metadata or {}), "response_id": request_id}

    @property
    def asked(self) -> dict[str, Any]:
        """The model that is asked for."""
        return {"model": asked_model(self.metadata, NOTHING)}

    def exact(self) -> dict[str, Any]:
        """Return the exact form of the answer, or of the error."""
        ended = {"result": object_form.form_of(self.answer)} if self.failure is None else {"error": self.failure}
        return {"form": DECISION, **ended, "asked": self.asked}


are_used = False
"""Whether this process has called a decision model."""


def announced(state: ChainState) -> None:
    """Make the row of a chain run that calls a model a generation."""
    global are_used
    are_used = True
    state.type = "generation"


def model_starts_below(run: Run | None) -> None:
    """Leave the tokens of a call around *run* to the model that starts below it."""
    while run is not None:
        if run.state.type == "generation" and isinstance(call := run.observation.late, DecisionCall):
            call.asks_another = True
        run = run.parent


def failed(run: Run, error: BaseException) -> None:
    """Note the error of a call, from which a replay raises an equal one."""
    call = run.observation.late
    if isinstance(call, DecisionCall) and isinstance(error, Exception):
        call.failure = error_form(error)


def _told(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, dict) else getattr(answer, name, None)
