"""Releases of LlamaIndex and of its clients that do less than today's: what they lose, nobody could record."""

from __future__ import annotations

from importlib.metadata import version


def older(package: str, *release: int) -> bool:
    """Return whether the installed release of *package* is older than *release*."""
    return tuple(int(part) for part in version(package).split(".")[: len(release)]) < release


TAKES_A_WAIT_FOR_AN_ERROR = older("llama-index-core", 0, 14, 9)
"""Agents hand the exception of a tool that waits for an event to the model (with today's workflows)."""
TAKES_WHAT_DOES_NOT_FIT = older("llama-index-core", 0, 14, 25)
"""A program whose answer does not fit returns without an error (0.14.0; 0.14.25 raises)."""
STEPS_OUTLIVE_THEIR_RUN = TAKES_A_WAIT_FOR_AN_ERROR
"""The steps of an agent go on when the task that awaits its run is cancelled (with today's workflows)."""
OLD_ANTHROPIC = older("llama-index-llms-anthropic", 0, 9)
"""Drops the tokens of a stream, and asks for a tool call to get a structured answer."""
OLD_OPENAI = older("llama-index-llms-openai", 0, 6)
"""Asks for a tool call to get a structured answer; its responses API mistakes ids and gives agents empty streams."""


def _contexts_have_no_clock() -> bool:
    try:
        from workflows.context.context_types import SerializedContext
    except ImportError:
        return True
    return "last_alive_stamp" not in SerializedContext.model_fields


CONTEXTS_HAVE_NO_CLOCK = _contexts_have_no_clock()
"""A saved context says nothing that tells it from another one of the same workflow at the same place."""
