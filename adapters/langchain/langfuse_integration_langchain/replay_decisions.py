"""LangChain's seam for replays of decision models, and of other runnables that announce themselves as a model's call.

All of them run their code in `Runnable._call_with_config` or its async twin; in a replay the recording answers in place
of that code, below the callbacks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable

from langfuse_integration.encoding import object_form
from langfuse_integration.recording import tracing
from langfuse_integration.testing_kit.replay.patches import Patches
from langfuse_integration.testing_kit.replay.player import ReplaySession
from langfuse_integration.testing_kit.replay.question import Question
from langfuse_integration.testing_kit.replay.rebuilding import rebuilding

from . import private
from .decisions import MODEL_KIND, DecisionCall

Form = Mapping[str, Any]


class DecisionModels:
    """The replaced methods, and how each asks the recording.

    Args:
        session: answers the calls.
        patches: keeps the replaced methods.
    """

    def __init__(self, session: ReplaySession, patches: Patches) -> None:
        self._session = session
        self._patches = patches

    def install(self) -> None:
        """Replace the methods.

        Raises:
            SeamMoved: this release of langchain-core does not have them.
        """
        private.require_call_seams()
        for name in private.CALL_SEAMS:
            self._patches.wrap(Runnable, name, self._calling)

    def _calling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(owner: Any, code: Any, *positional: Any, run_type: Any = None, **named: Any) -> Any:
            if run_type == MODEL_KIND:
                code = self._answering(owner, code)
            return original(owner, code, *positional, run_type=run_type, **named)

        return call

    def _answering(self, owner: Any, code: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs in place of *code*; LangChain looks at its signature."""
        if inspect.iscoroutinefunction(code):

            @functools.wraps(code)
            async def answer_async(*positional: Any, **named: Any) -> Any:
                form = self._ask(owner)
                return await code(*positional, **named) if form is None else self._result(form)

            return answer_async

        @functools.wraps(code)
        def answer(*positional: Any, **named: Any) -> Any:
            form = self._ask(owner)
            return code(*positional, **named) if form is None else self._result(form)

        return answer

    def _ask(self, owner: Any) -> Form | None:
        """Return the recorded answer; None for a call that goes on live."""
        key = private.current_run_key()
        run = tracing.registry.get(key) if key is not None else None
        observation = run.observation if run is not None and not run.folded else None
        late = observation.late if observation is not None else None
        asked = late.asked if isinstance(late, DecisionCall) else None
        return self._session.answer(Question("model", type(owner).__name__, observation, settings=asked))

    def _result(self, form: Form) -> Any:
        if "error" in form and "replaced" not in form:
            with rebuilding(self._session, form):
                error = self._session.error(form)
            raise error
        with rebuilding(self._session, form):
            recorded = object_form.rebuilt(form.get("result"))
            return _replaced(recorded, form["replaced"]) if "replaced" in form else recorded


def _replaced(recorded: Any, other: Any) -> Any:
    """Return the recorded answer with the fields of another one in their places; what has no fields is replaced."""
    validate = getattr(type(recorded), "model_validate", None)
    if validate is None:
        return {**recorded, **other} if isinstance(recorded, dict) and isinstance(other, dict) else other
    return validate({**recorded.model_dump(), **other})
