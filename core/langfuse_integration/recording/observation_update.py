"""What `Observation.update` takes, and where each change goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

Level = Literal["DEBUG", "DEFAULT", "WARNING", "ERROR"]


class ObservationUpdate(TypedDict, total=False):
    """The changes that `Observation.update` takes; None keeps what is there.

    Attributes:
        name: what Langfuse shows.
        input, output: any values.
        metadata: merged by key; anything but a mapping becomes the entry `metadata`.
        level: DEBUG, DEFAULT, WARNING or ERROR.
        status_message: what goes with the level.
        model: the model's name.
        model_parameters: by name.
        usage_details: tokens in disjoint buckets.
        cost_details: US dollars, by the same buckets.
        completion_start_time: when the first token came; an aware datetime.
        prompt: a Langfuse prompt client, or anything with `name` and `version`.
        version: of the application.
    """

    name: str | None
    input: Any
    output: Any
    metadata: Mapping[str, Any] | Any
    level: Level | None
    status_message: str | None
    model: str | None
    model_parameters: Mapping[str, Any] | None
    usage_details: Mapping[str, int] | None
    cost_details: Mapping[str, float] | None
    completion_start_time: datetime | None
    prompt: Any
    version: str | None


def _set_first_token(observation: Any, time: datetime) -> None:
    observation.first_token_ns = int(time.timestamp() * 1_000_000) * 1_000


def _set_prompt(observation: Any, prompt: Any) -> None:
    observation.prompt = (prompt.name, getattr(prompt, "version", None))


NAMES = ObservationUpdate.__annotations__.keys()
"""Every name that `update` takes."""
COPIED = frozenset({"input", "output", "model_parameters", "usage_details", "cost_details"})
"""Values that the application may change later."""
SETTERS: Mapping[str, Callable[[Any, Any], None]] = {
    "metadata": lambda observation, metadata: observation.add_metadata(metadata),
    "completion_start_time": _set_first_token,
    "prompt": _set_prompt,
}
"""Changes that are more than an attribute of the same name."""
