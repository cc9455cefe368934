"""What the answers of a model call tell when its row is built, with the finish reason and the id of the response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from langfuse_integration.recording.observation import Observation

from .messages import RESPONSES
from .models import answering_model, get, inside_event, usage_of

FINISH = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "completionReason")
IDS = ("response_id", "responseId", "id")


class AnswerReading:
    """Fills in what the answers of a model call tell, when its row is built: model, tokens, and how they ended.

    Args:
        answers: LlamaIndex's responses.
        asked_model: the name of the requested model, or None.
        before_last: the piece of a stream that may tell the ending where the last one does not, or None.
        stop: the provider's piece that tells why a stream stops, where no response has it.
    """

    __slots__ = ("_answers", "_asked_model", "_before_last", "_stop")

    def __init__(self, answers: Sequence[Any], asked_model: str | None, before_last: Any, stop: Any) -> None:
        self._answers: list[Any] = []
        for answer in answers:  # the application may let go of the provider's response, which may be large
            self._answers.append(answer.__dict__.copy() if type(answer) in RESPONSES else answer)
        self._asked_model = asked_model
        self._before_last = before_last
        self._stop = stop

    def __call__(self, observation: Observation) -> None:
        """Look into the answers."""
        observation.asked_model = self._asked_model
        observation.model = answering_model(self._answers) or self._asked_model
        observation.usage_details = usage_of(self._answers, observation.model)
        entries = ending_of((self._before_last, *self._answers))
        reason = _first(_places(self._stop, None), FINISH) if self._stop is not None else None
        if reason is not None:
            entries.setdefault("finish_reason", str(reason))
        if entries:
            observation.add_metadata(entries)


def ending_of(answers: Iterable[Any]) -> dict[str, str]:
    """Return `finish_reason` and `response_id` of the last answer that has them, as metadata.

    Args:
        answers: LlamaIndex's responses, or their fields.
    """
    entries: dict[str, str] = {}
    for answer in answers:
        raw = get(answer, "raw")
        extra = get(get(answer, "message"), "additional_kwargs")
        if raw is None and not extra:
            continue
        reason = _first(_places(raw, extra), FINISH)
        identity = _first((raw, inside_event(raw)), IDS) or get(get(raw, "ResponseMetadata"), "RequestId")
        if reason is not None:
            entries["finish_reason"] = str(getattr(reason, "name", reason))
        if isinstance(identity, str) and identity:
            entries["response_id"] = identity
    return entries


def _places(raw: Any, extra: Any) -> Iterator[Any]:
    choices = get(raw, "choices") or get(inside_event(raw), "choices")
    if isinstance(choices, (list, tuple)) and choices:
        yield choices[0]
    results = get(raw, "results")
    if isinstance(results, list) and results:
        yield results[0]  # Amazon Titan
    yield raw
    yield get(raw, "messageStop")  # Bedrock, streamed
    yield extra
    details = get(raw, "incomplete_details") or get(inside_event(raw), "incomplete_details")  # OpenAI's responses
    yield {"finish_reason": get(details, "reason")}
    yield {"finish_reason": get(raw, "status") or get(inside_event(raw), "status")}


def _first(places: Iterable[Any], names: tuple[str, ...]) -> Any:
    for place in places:
        value = get(place, *names)
        if value is not None:
            return value
    return None
