"""Langfuse prompts: which model call was made from which.

A template that carries a prompt in its metadata, as the Langfuse SDK documents it (`langfuse_prompt`, SDK 2 to 5),
links it to the model calls that are given what the template made. A sequence may change that on the way to its model:
there the first model after the template counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from langfuse_integration.recording.registry import Run

PROMPT_KEY = "langfuse_prompt"
PROMPTS_LIMIT = 100
"""Prompts of one trace that are remembered for its model calls."""


class GivenPrompt:
    """A Langfuse prompt, and what a template made of it.

    Attributes:
        prompt: the client of the prompt.
        sequence: the key of the sequence whose step the template is, until a model call below is linked; else None.
        contents: of the messages that the template made, or its text; empty until it has ended.
    """

    __slots__ = ("contents", "prompt", "sequence")

    def __init__(self, prompt: Any, sequence: Hashable | None) -> None:
        self.prompt = prompt
        self.sequence = sequence
        self.contents: list[Any] = []

    def made(self, output: Any) -> None:
        """Keep what the template made."""
        messages = getattr(output, "messages", None)
        if isinstance(messages, list):
            self.contents = [message.content for message in messages]
        elif isinstance(getattr(output, "text", None), str):
            self.contents = [output.text]

    def in_request(self, request: Any) -> bool:
        """Return whether a model call is given all that the template made, in its order."""
        if not self.contents:
            return False
        if isinstance(request, str):
            return all(isinstance(content, str) and content in request for content in self.contents)
        given = iter([message.content for message in request])
        return all(any(content == own for own in given) for content in self.contents)


noticed = False
"""Whether this process has seen a template with a prompt; before that, no model call looks for one above it."""


def formatted(metadata: dict[str, Any], parent: Run, *, in_sequence: bool) -> GivenPrompt | None:
    """Note a template that starts below *parent*, and return its prompt; one without ends the turn of those before it.

    Args:
        metadata: of the template.
        in_sequence: the template is a step of the sequence that *parent* is.
    """
    global noticed
    prompt = metadata.get(PROMPT_KEY)
    if prompt is None and not noticed:
        return None
    noticed = True
    root: Any = parent.root.state
    for given in root.prompts or ():
        if given.sequence == parent.key:
            given.sequence = None
    if prompt is None:
        return None
    made = GivenPrompt(prompt, parent.key if in_sequence else None)
    root.prompts = [*(root.prompts or ())[-PROMPTS_LIMIT + 1 :], made]
    return made


def prompt_of(metadata: dict[str, Any], parent: Run | None, request: Any) -> tuple[str, int | None] | None:
    """Return name and version of the prompt that a model call was made from: its own, or that of a template before it.

    Args:
        metadata: of the model call.
        parent: the run above, or None.
        request: the messages or the text that the model is given.
    """
    prompt = metadata.get(PROMPT_KEY)
    if prompt is None and parent is not None and noticed:
        prompt = _given(parent, request)
    if prompt is None or getattr(prompt, "is_fallback", False) or not hasattr(prompt, "name"):
        return None
    return prompt.name, getattr(prompt, "version", None)


def _given(parent: Run, request: Any) -> Any:
    root: Any = parent.root.state
    if not root.prompts:
        return None
    for given in (*_by_content(root.prompts, request), *_by_sequence(root.prompts, parent)):
        given.sequence = None
        return given.prompt
    return None


def _by_content(prompts: list[GivenPrompt], request: Any) -> Iterator[GivenPrompt]:
    """Yield the prompts of which all is in *request*, the last template first."""
    return (given for given in reversed(prompts) if given.in_request(request))


def _by_sequence(prompts: list[GivenPrompt], parent: Run) -> Iterator[GivenPrompt]:
    """Yield the prompt of the sequence that *parent* is, or that is above it with nothing but plumbing between."""
    for run in parent.lineage():
        yield from (given for given in reversed(prompts) if given.sequence == run.key)
        if not run.folded:
            return
