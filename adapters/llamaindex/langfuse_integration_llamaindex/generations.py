"""Model calls: one row each, however many methods of however many wrappers one call goes through.

`predict` calls `chat`, which calls `complete`; a structured model calls a program, which calls a tool-calling model.
The outermost call is the row. Its input, model and tokens come from LlamaIndex's events about it or the calls inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any

from langfuse_integration.encoding.error_form import error_form
from langfuse_integration.internals.bounded import shrink
from langfuse_integration.recording.registry import Run
from langfuse_integration.recording.snapshot import snapshot
from langfuse_integration.recording.tracing import recorder, registry

from . import endings, models, rows, stop_reasons
from .answers import AnswerNote, piece_of
from .arguments import first, options
from .folding import Kind, Role, is_a
from .messages import NO_STREAMS, RESPONSES, LlmAnswer, Prompt, Template, is_response, output_of
from .model_streams import StreamWatch, being_read, is_stream, open_streams
from .places import Fold, SpanPlace, Thinking, folds
from .private import BEDROCK

ANNOUNCED_LIMIT = 100_000


class LlmCall(rows.RowState):
    """The state of a model call.

    Attributes:
        think: the agent's step that decides by this call, or None.
        announced: the id of the outermost span that LlamaIndex sent a start event for.
        spans: the ids of all spans that it sent a start event for.
        piece: the last piece of a stream inside; its end is not announced if the reader leaves.
        claimed: whether a call inside has been folded into it.
        streamed: whether the call returned a stream: events end the row then.
        named: the innermost model object so far: the one that answers.
        answers: the responses of the calls inside and of the call itself.
        before_last: the piece before the last: OpenAI's last one has the tokens, but no finish reason.
        stop: the provider's piece that tells why a stream stops, where no event has it.
        last, deltas: the response of the outermost call, or the last piece and the texts of a stream.
        watch: watches that stream.
        note: what the exact form of the answer is made of, or None where rows are not to be replayed.
    """

    announced: str | None = None
    piece: Any = None
    claimed = streamed = False
    named: Any = None
    last: Any = None
    before_last: Any = None
    stop: Any = None
    first_ns = 0
    watch: StreamWatch | None = None

    def __init__(self, role: Role, instance: Any, think: Thinking | None, bound: BoundArguments) -> None:
        self.role, self.instance = role, instance
        self.think = think
        self.spans: list[str] = []
        self.answers: list[Any] = []
        self.deltas: list[str] = []
        self.note = AnswerNote() if recorder.replayable else None
        self.bound = bound

    # -- its span

    def exit(self, run: Run, result: Any) -> None:
        """End the row, or wait for the stream that the call returned."""
        if type(result) not in NO_STREAMS and is_stream(result):
            self.streamed = True
            self.watch = StreamWatch(run, result, _gone)
            return
        if type(self.last) not in RESPONSES and not is_response(self.last):
            self.last = result
        self._close(run, output_of(result, self.last))

    def drop(self, run: Run, error: BaseException) -> None:
        """End the row with the error, and with the part that was answered."""
        self._fail(run, error)
        self._close(run, self._partial())

    # -- LlamaIndex's events

    def start(self, run: Run, span_id: str, prompt: Any, described: Any, options: Mapping[str, Any]) -> None:
        """Note the input of a model; that of the outermost call counts."""
        observation = run.observation
        self.spans.append(span_id)
        announced[span_id] = run
        if len(announced) > ANNOUNCED_LIMIT:
            shrink(announced, ANNOUNCED_LIMIT)
        if self.announced is None:
            self.announced = span_id
            tools = options.get("tools")
            observation.input = Prompt(snapshot(prompt), tools) if tools or not isinstance(prompt, str) else prompt
        fold = folds.get(span_id)
        instance = fold.instance if isinstance(fold, InnerCall) else self.instance
        if instance is not self.named:
            self.named = instance
            observation.name = type(instance).__name__
            observation.model = models.asked_model(instance, described) or observation.model
            observation.model_parameters = models.Parameters(instance, options)
            if recorder.has_destinations or recorder.worker is None:
                models.note_provider(observation, instance)
            if type(described) is dict and described.get("class_name") == BEDROCK:
                stop_reasons.follow(_call_of)
        if self.note is not None:
            self.note.start(span_id, instance, observation)

    def token(self, run: Run, span_id: str, response: Any) -> None:
        """Note a piece of a streamed answer; a structured stream has pieces of its own beside the model's."""
        if self.note is not None and span_id == self.note.seam:
            self.note.pieces.append(piece_of(response))
        if span_id != self.announced:
            self.piece = response
            return
        self.before_last, self.last = self.last, response
        delta = getattr(response, "delta", None)
        if delta:
            self.deltas.append(delta)
            if not run.observation.first_token_ns:
                run.observation.first_token()
        elif not self.first_ns:
            self.first_ns = run.observation.elapsed_to_wall()

    def end(self, run: Run, span_id: str, response: Any) -> None:
        """Note the answer of a model; the end of a stream ends the row."""
        if self.note is not None and span_id == self.note.seam:
            self.note.response = response
        if response is not None:
            if self.last is None or span_id == self.announced:
                self.last = response
            if not self.answers or self.answers[-1] is not response:  # the methods around it mostly return the same one
                self.answers.append(response)
        if self.streamed and span_id == self.announced:
            self._close(run, self._partial())

    def error(self, run: Run, span_id: str, error: BaseException) -> None:
        """Note the error that ended a stream, or that its reader left."""
        if self.streamed and span_id == self.announced:
            self._fail(run, error)
            self._close(run, self._partial())

    # -- the end

    def abandon(self, run: Run) -> None:
        """End the row of a stream that was collected before its end: it was never read, or its reader stopped."""
        run.observation.cancel()
        self._close(run, self._partial())

    def end_silently(self, run: Run) -> None:
        """End the row without output or status: no event told of the stream."""
        self._close(run, None)

    def _fail(self, run: Run, error: BaseException) -> None:
        run.observation.fail(error)
        if self.note is not None and isinstance(error, Exception):
            self.note.error = error_form(error)

    def _partial(self) -> Any:
        return LlmAnswer(self.last, self.deltas) if self.last is not None else None

    def _close(self, run: Run, output: Any) -> None:
        if registry.close(run.key) is None:
            return
        if self.watch is not None:
            self.watch.stop()
        for span_id in self.spans:
            announced.pop(span_id, None)
        observation = run.observation
        if self.first_ns and not observation.first_token_ns:
            observation.first_token_ns = self.first_ns
        if self.announced is None:
            _describe_by_call(run, self)
        if self.piece is not None and not self.answers:
            self.answers.append(self.piece)
        answers = self.answers or ([self.last] if is_response(self.last) else ())
        if answers:
            observation.late = endings.AnswerReading(answers, observation.model, self.before_last, self.stop)
        if self.note is not None:
            observation.exact = self.note.exact(output, streamed=self.streamed and self.note.seam == self.announced)
        if self.think is None:
            observation.finish(output)
        else:
            observation.output = output
            self.think.hold(observation)


class InnerCall(Fold):
    """A model call inside of a model call: a part of the same row."""

    in_model = True

    def __init__(self, run: Run, instance: Any) -> None:
        self.run, self.key = run, run.key
        self.call: LlmCall = run.state
        self.instance = instance

    def exit(self, result: Any) -> None:
        """Keep the result if no event told of it."""
        state = self.call
        if state.last is None and is_response(result):
            state.last = result
            state.answers.append(result)


def enter(id_: str, name: str, role: Role, instance: Any, place: SpanPlace, bound: BoundArguments) -> InnerCall | None:
    """Open the row of a model call, or return its fold: it is a part of another one."""
    outer = being_read() if open_streams else None
    if outer is None and place.run is not None and isinstance(place.run.state, LlmCall):
        outer = place.run
    if outer is not None:
        state: LlmCall = outer.state
        if outer is not place.run or place.in_model or not state.claimed:
            state.claimed = True
            return InnerCall(outer, instance)
    think = place.think
    run = rows.open_row(id_, place, type(instance).__name__, LlmCall(role, instance, think, bound), None)
    if run is not None and think is not None:
        think.decides(run.observation)
    return None


announced: dict[str | None, Run] = {}
"""The open model calls, by the id of the span whose events tell the input, the tokens and the end."""


def _call_of(span_id: str | None) -> LlmCall | None:
    """Return the open model call of a span for which LlamaIndex sent a start event, or None."""
    run = announced.get(span_id)
    return run.state if run is not None else None


def _gone(run: Run) -> None:
    """End a model call whose stream was collected; a stream without events may have been read to its end."""
    if run.state.announced is None:
        run.state.end_silently(run)
    else:
        run.state.abandon(run)


# -- without events


def _describe_by_call(run: Run, state: LlmCall) -> None:
    """Fill in the row of a call without events: the methods lack LlamaIndex's decorators, or it is a program."""
    observation = run.observation
    if not is_response(state.last) and not state.claimed and not _is_model(state):
        observation.type = "chain"
    prompt = first("messages", "prompt")(state.bound)
    passed = options(state.bound)
    if isinstance(prompt, (list, tuple)):
        observation.input = Prompt(snapshot(list(prompt)), passed.get("tools"))
    elif is_a(prompt, "BasePromptTemplate"):
        observation.input = Template(prompt, dict(passed))
    else:
        observation.input = prompt if prompt is not None else dict(passed)
    if observation.type == "generation":
        observation.model = models.asked_model(state.instance) or observation.model
        observation.model_parameters = models.Parameters(state.instance, passed)
        if recorder.has_destinations or recorder.worker is None:
            models.note_provider(observation, state.instance)


def _is_model(state: LlmCall) -> bool:
    # Not by `hasattr`, which would run the property: it may raise, or ask the network.
    return state.role.kind is Kind.MODEL and inspect.getattr_static(state.instance, "metadata", None) is not None
