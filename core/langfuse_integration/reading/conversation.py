"""The conversation of a trace: what the user asked, what came back, and what a person was asked in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from ..encoding.messages import compact, messages_in
from .replay import Observed, Trace

QUESTION_KEYS = ("input", "question", "query", "user_msg", "prompt", "message", "text", "content")
ANSWER_KEYS = ("output", "answer", "response", "result", "text", "content", "message")
SPEAKERS = ("agent", "chain", "generation", "span")
INTERRUPT_KEYS = ("interrupts", "__interrupt__")
RESUME_KEY = "resume"


class Utterance(NamedTuple):
    """One contribution to the conversation.

    Attributes:
        role: user or assistant; request and result for an input and an output that are no chat.
        speaker: the agent's name, or None.
    """

    role: str
    text: str
    speaker: str | None = None


class Exchange(NamedTuple):
    """The first request and the last answer of a trace; None where there is none."""

    question: str | None
    answer: str | None
    answered_by: str | None


def exchange_of(trace: Trace) -> Exchange:
    """Return the first request and the last answer of a trace."""
    utterances = conversation_of(trace)
    question = next((one.text for one in utterances if one.role in ("user", "request")), None)
    answer = next((one for one in reversed(utterances) if one.role in ("assistant", "result")), None)
    speaker = next((one.speaker for one in utterances if one.speaker), None)
    return Exchange(question, answer.text if answer else None, (answer.speaker if answer else None) or speaker)


def conversation_of(trace: Trace) -> list[Utterance]:
    """Return the conversation of a trace, in its order.

    The words come from the roots. A root without an input lets the observations below it speak instead. An interrupt is
    the agent's question, and the value that a run is resumed with is the user's reply. Chat history is said once.
    """
    utterances: list[Utterance] = []
    for root in trace.roots:
        for observation in _speakers(root):
            for utterance in _spoken(observation):
                if utterance not in utterances[-2:]:
                    utterances.append(utterance)
    return utterances


def asked(value: Any) -> str | None:
    """Return what the user said last in an input, or None."""
    return _last(value, "user", QUESTION_KEYS)


def answered(value: Any) -> str | None:
    """Return what the assistant said last in an output, or None."""
    return _last(value, "assistant", ANSWER_KEYS)


def interrupts_of(value: Any) -> list[str]:
    """Return the questions of an output that interrupts a run to ask a person."""
    if not isinstance(value, Mapping):
        return []
    entry = cast("Mapping[str, Any]", value)
    items: list[Any] = next((entry[key] for key in INTERRUPT_KEYS if isinstance(entry.get(key), list)), [])
    return [compact(item["value"] if isinstance(item, Mapping) and "value" in item else item) for item in items]


def _speakers(root: Observed) -> Iterator[Observed]:
    """Yield the outermost observations that have an input, in their order."""
    waiting = [root]
    while waiting:
        observation = waiting.pop()
        if observation.type not in SPEAKERS:
            continue
        if observation.input in (None, "", {}, []):
            waiting += reversed(observation.children)
        else:
            yield observation


def _spoken(observation: Observed) -> Iterator[Utterance]:
    speaker = _speaker(observation)
    yield _request(observation.input)
    answer = _new_answer(observation)
    if answer:
        yield Utterance("assistant", answer, speaker)
    questions = _questions(observation)
    yield from (Utterance("assistant", question, speaker) for question in questions)
    if not answer and not questions and observation.output and not messages_in(observation.output):
        yield Utterance("result", compact(observation.output), speaker)


def _request(value: Any) -> Utterance:
    """Return a run's input as the user's words, as the reply to an interrupt, or as a request that is no chat."""
    if isinstance(value, Mapping) and value.get(RESUME_KEY) is not None and not messages_in(value):
        return Utterance("user", compact(value[RESUME_KEY]))
    question = asked(value)
    return Utterance("user", question) if question else Utterance("request", compact(value))


def _new_answer(observation: Observed) -> str | None:
    """Return what the assistant said last, unless it is only repeated from the input."""
    texts = _texts(observation.output, "assistant")
    if not texts:
        return answered(observation.output)
    left = Counter(texts) - Counter(_texts(observation.input, "assistant"))
    return next((text for text in reversed(texts) if left[text]), None)


def _questions(root: Observed) -> list[str]:
    """Return what an interrupted run asks the person, from the innermost observations that say it."""
    questions: list[str] = []
    waiting = [root]
    while waiting:
        observation = waiting.pop()
        if observation.status_message != "interrupted" and not interrupts_of(observation.output):
            continue
        inner = [child for child in observation.children if child.status_message == "interrupted"]
        waiting += reversed(inner)
        if not inner:
            questions += interrupts_of(observation.output)
    return list(dict.fromkeys(questions))


def _texts(value: Any, role: str) -> list[str]:
    return [message.text.strip() for message in messages_in(value) if message.role == role and message.text.strip()]


def _last(value: Any, role: str, keys: Iterable[str]) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    texts = _texts(value, role)
    if texts:
        return texts[-1]
    if isinstance(value, Mapping):
        entry = cast("Mapping[str, Any]", value)
        for key in keys:
            if isinstance(entry.get(key), str) and str(entry[key]).strip():
                return str(entry[key]).strip()
    return None


def _speaker(observation: Observed) -> str | None:
    name = observation.metadata.get("agent_name")
    if isinstance(name, str) and name:
        return name
    return observation.name if observation.type == "agent" and not observation.is_think else None
