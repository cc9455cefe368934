"""The guide's API: set a session once, and everything that follows is in it.

More than 300 lines: the guide's API is one class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast

from .internals.bounded import BoundedDict
from .internals.faults import shielded
from .recording import tracing
from .recording.observation import Observation, ObservationType
from .recording.recorder import FlushResult
from .recording.score import Score, ScoreValue
from .recording.scoring import scored
from .runtime import ready
from .sessions.blocks import Scope
from .sessions.ownership import claim
from .sessions.session import Session, TraceAttributes, valid

if TYPE_CHECKING:
    from .export.counters import Stats
    from .recording.span_scope import SpanScope
    from .settings import Mode

P = ParamSpec("P")
R = TypeVar("R")

STEP_TYPES: dict[str, ObservationType] = {"think": "agent", "act": "tool"}
"""Observation types of manually traced steps; any other step type is a span."""


class LangfuseManager:
    """The active session, and recording in it; all instances share the process's state."""

    def __init__(self) -> None:
        self._scopes: type[SpanScope] | None = None

    # -- the session

    def set_session(
        self,
        session_id: str,
        user_id: str | None = None,
        **attributes: Unpack[TraceAttributes],
    ) -> None:
        """Set the session of everything recorded here from now on.

        "Here" is this thread, task, request or browser tab, and what they start; others are not affected.

        Args:
            session_id: 1 to 200 printable characters.
            user_id: the same, or None for no user.
            attributes: what stands on every row beside the ids: `tags` (short texts), `metadata` (values by text keys),
                `trace_name`, `version`, `environment`.

        Raises:
            ValueError: an id is blank, too long or not printable; the old session stays.
            TypeError: an id is no str; the old session stays.
        """
        session = _session(session_id, user_id, attributes)
        tracing.store.set(session)
        tracing.misuse.was_set(session)
        claim(session)
        ready()

    def set_user(self, user_id: str | None) -> None:
        """Change the user only; the session stays.

        Raises:
            ValueError, TypeError: as `set_session` does for an id; the old user stays.
        """
        active = tracing.store.current()
        session = active.with_user(user_id) if active is not None else Session(None, user_id)
        tracing.store.set(session)
        claim(session, handed_over=True)
        ready()

    def clear_session(self) -> None:
        """Set neither session nor user from now on; an outer session does not show through."""
        tracing.store.set(None)

    def session(
        self,
        session_id: str,
        user_id: str | None = None,
        **attributes: Unpack[TraceAttributes],
    ) -> Scope:
        """Return a `with` or `async with` block in a session; the previous one is restored at its end.

        Args: as of `set_session`.
        """
        session = _session(session_id, user_id, attributes)
        claim(session)
        ready()
        return tracing.store.scoped(session)

    def detached(self) -> Scope:
        """Return a block without any session: for connections and workers that outlive the user who starts them."""
        return tracing.store.scoped(None)

    @property
    def current_session(self) -> Session | None:
        """The active session, or None."""
        return tracing.store.current()

    @property
    def current_session_id(self) -> str | None:
        """The id of the active session, or None."""
        active = tracing.store.current()
        return active.session_id if active is not None else None

    @property
    def current_user_id(self) -> str | None:
        """The id of the active user, or None."""
        active = tracing.store.current()
        return active.user_id if active is not None else None

    def bind(self, callable: Callable[P, R]) -> Callable[P, R]:  # noqa: A002
        """Return *callable* bound to the current session, for threads and pools; coroutine functions too.

        What it records stands under what is current now, as long as that is open when it is called.
        """
        from .recording.placement import Bound

        bound_to = Bound()
        if inspect.iscoroutinefunction(callable):

            @functools.wraps(callable)
            async def later(*args: Any, **options: Any) -> Any:
                with bound_to.here():
                    return await callable(*args, **options)

            return cast("Callable[P, R]", later)

        @functools.wraps(callable)
        def bound(*args: P.args, **options: P.kwargs) -> R:
            with bound_to.here():
                return callable(*args, **options)

        return bound

    # -- recording

    def trace_span(
        self,
        name: str,
        *,
        input: Any = None,  # noqa: A002  Langfuse's word
        metadata: Mapping[str, Any] | None = None,
        as_type: ObservationType = "span",
    ) -> SpanScope:
        """Return a `with` or `async with` block that is one observation, and yields it.

        An exception makes it ERROR and goes on. Inside, it is OpenTelemetry's current span.

        Args:
            name: what Langfuse shows.
            input: any value; `observation.update(output=...)` sets the output.
            metadata: any values by text keys.
            as_type: one of Langfuse's observation types.
        """
        scopes = self._scopes
        if scopes is None:
            from .recording.span_scope import SpanScope

            scopes = self._scopes = SpanScope
        return scopes(name, as_type, input, dict(metadata) if metadata else None)

    def trace_agent_step(
        self,
        step_type: str,
        input_data: Any = None,
        output_data: Any = None,
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Observation | None:
        """Record a finished step of an agent: `think` is an agent observation, `act` a tool, anything else a span.

        Args:
            step_type: kept in the metadata as `step_type`; also the name, unless one is given.
            input_data: what the step began with, any value.
            output_data: what came of it, any value.
        """
        return self._finished(
            name or str(step_type),
            STEP_TYPES.get(step_type, "span"),
            input_data,
            output_data,
            {**(metadata or {}), "step_type": step_type},
        )

    def trace_mcp_call(
        self,
        server_name: str,
        query: Any = None,
        response: Any = None,
        *,
        tool: str | None = None,
        is_error: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> Observation | None:
        """Record a finished call of an MCP server as a tool observation.

        Args:
            server_name: kept in the metadata as `mcp_server`.
            query: the arguments, any value.
            response: the result, any value.
            tool: the tool's name, if it is known.
            is_error: the server answered with an error.
        """
        entries: dict[str, Any] = {**(metadata or {}), "mcp_server": server_name, "mcp_method": "tools/call"}
        if tool:
            entries["mcp_tool"] = tool
        name = f"{server_name}.{tool}" if tool else str(server_name)
        return self._finished(name, "tool", query, response, entries, failed="tool_error" if is_error else None)

    def _finished(
        self,
        name: str,
        type: ObservationType,  # noqa: A002
        input: Any,  # noqa: A002
        output: Any,
        metadata: dict[str, Any],
        failed: str | None = None,
    ) -> Observation | None:
        with shielded(f"recording a finished {type}"):
            observation = tracing.start(name, type, input=input, metadata=metadata)
            if failed:
                observation.level, observation.status_message = "ERROR", failed
            observation.finish(output)
            return observation
        return None

    @property
    def current_observation(self) -> Observation | None:
        """The observation around this line, inside of tools and nodes too, or None."""
        from .recording import ambient

        found = ambient.current()
        return found if isinstance(found, Observation) and not found.ended_ns else None

    # -- scores

    def score(
        self,
        name: str,
        value: ScoreValue,
        *,
        comment: str | None = None,
        trace_id: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Give a score to the current trace or, where nothing is being traced, to the active session.

        `observation.score` gives one to a single step.

        Args:
            name: what is judged, such as `helpful`.
            value: a number, True or False, or a category as text.
            comment: why.
            trace_id: the trace that is scored instead, 32 hex digits, such as one that has ended.
            session_id: the session that is scored instead.

        Raises:
            ValueError: there is neither a trace nor a session to score, both are named, or an id is not valid.
        """
        trace, session_id = scored(trace_id, session_id)
        ready()
        with shielded("recording a score"):
            tracing.recorder.score(Score(trace, 0, name, value, comment, session_id))

    # -- delivery

    def flush(self, timeout_s: float = 5.0) -> FlushResult:
        """Deliver all recorded observations, and return in time.

        Args:
            timeout_s: seconds; whatever happens, this returns by then.

        Returns:
            The counts of everything that this process recorded: delivered, pending, lost.
        """
        return tracing.recorder.flush(timeout_s)

    @property
    def stats(self) -> Stats:
        """Counters of this process: recorded, delivered, pending, lost, dropped, and why."""
        from .export.counters import stats_of

        return stats_of(tracing.recorder)

    @property
    def enabled(self) -> bool:
        """False when LANGFUSE_TRACING_ENABLED switches everything off."""
        return self.mode != "off"

    @property
    def mode(self) -> Mode:
        """Where observations go: `langfuse`, `local` (the journal only) or `off`."""
        from .settings import settings

        return settings().mode

    def session_url(self, session_id: str | None = None) -> str | None:
        """Return where to look at a session (default: the active one), or None when there is none."""
        from .links import session_url

        wanted = session_id or self.current_session_id
        return session_url(wanted) if wanted else None

    def __repr__(self) -> str:
        return f"<LangfuseManager session={self.current_session!r}>"


RECENT_LIMIT = 1_000
_recent: BoundedDict[tuple[str, str | None], Session] = BoundedDict(RECENT_LIMIT)
"""Recently used sessions without further attributes: a request handler sets the same one again."""


def _session(session_id: str, user_id: str | None, attributes: TraceAttributes) -> Session:
    if attributes or type(session_id) is not str:
        return Session(valid("session_id", session_id), user_id, **attributes)
    session = _recent.get((session_id, user_id))
    if session is None:
        session = Session(session_id, user_id)
        _recent[session_id, user_id] = session
    return session


langfuse_manager = LangfuseManager()
"""The instance that applications import."""


def configure(**given: Any) -> None:
    """Change settings from now on; they take precedence over the environment. `settings.Settings` has names and units.

    Observations already recorded are delivered with the previous settings, within `exit_timeout_s`.

    Raises:
        ValueError: an unknown name, or a value that makes no sense; nothing has changed then.
    """
    from .runtime import look_again
    from .settings import change, settings

    timeout_s = settings().exit_timeout_s
    change(**given)
    tracing.recorder.close(timeout_s)
    tracing.recorder.enabled = True
    look_again()
