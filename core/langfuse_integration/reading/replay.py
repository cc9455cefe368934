"""Reading back what was recorded: observations, their traces as trees, the sessions they belong to.

The command line, the viewer and the test kit all read through this.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..encoding.observed import METADATA, Observed, Tree, parsed, request_of

__all__ = ["METADATA", "Observed", "SessionReplay", "Trace", "Tree", "parsed", "request_of", "sessions_of", "traces_of"]


class _Steps:
    """The agents' thinks and acts among some observations."""

    observations: list[Observed]

    @property
    def thinks(self) -> list[Observed]:
        """The observations in which agents decided."""
        return [observation for observation in self.observations if observation.is_think]

    @property
    def acts(self) -> list[Observed]:
        """The observations in which agents acted."""
        return [observation for observation in self.observations if observation.is_act]

    @property
    def tools_called(self) -> list[str]:
        """The names of the tool observations, in order."""
        return [observation.name for observation in self.observations if observation.type == "tool"]


class Trace(_Steps):
    """The observations of one trace, as trees under their roots."""

    def __init__(self, observations: Iterable[Observed]) -> None:
        self.observations = sorted(
            observations, key=lambda observation: (observation.started_ns, observation.ended_ns, observation.id)
        )
        by_id = {observation.id: observation for observation in self.observations}
        self.roots: list[Observed] = []
        for observation in self.observations:
            observation.children = []
        for observation in self.observations:
            above = by_id.get(observation.parent_id or "")
            (above.children if above is not None and above is not observation else self.roots).append(observation)

    @property
    def id(self) -> str:
        """The trace's id."""
        return self.observations[0].trace_id

    @property
    def name(self) -> str:
        """The name of its first root."""
        return self.roots[0].name if self.roots else self.observations[0].name

    @property
    def started_ns(self) -> int:
        """When its first observation started."""
        return self.observations[0].started_ns

    @property
    def ended_ns(self) -> int:
        """When its last observation ended."""
        return max(observation.ended_ns for observation in self.observations)

    def tree(self) -> list[Tree]:
        """Return the trees under its roots, for plain comparison."""
        return [root.tree() for root in self.roots]

    def named(self, name: str) -> list[Observed]:
        """Return its observations of that name, in order."""
        return [observation for observation in self.observations if observation.name == name]

    def one(self, name: str) -> Observed:
        """Return its only observation of that name."""
        (observation,) = self.named(name)
        return observation

    def __repr__(self) -> str:
        return f"<Trace {self.name} of {len(self.observations)} observations>"


class SessionReplay(_Steps):
    """What happened in one session: its traces in the order in which they started."""

    def __init__(self, session_id: str | None, observations: Iterable[Observed]) -> None:
        self.session_id = session_id
        self.traces = traces_of(observations)
        self.observations = [observation for trace in self.traces for observation in trace.observations]

    @property
    def users(self) -> list[str]:
        """The users met in it, in order of appearance; more than one is a mix-up."""
        return list(dict.fromkeys(observation.user_id for observation in self.observations if observation.user_id))

    def __repr__(self) -> str:
        return f"<SessionReplay {self.session_id} of {len(self.traces)} traces>"


def traces_of(observations: Iterable[Observed]) -> list[Trace]:
    """Return the traces that *observations* make, in the order in which they started."""
    by_trace: dict[str, list[Observed]] = {}
    for observation in observations:
        by_trace.setdefault(observation.trace_id, []).append(observation)
    return sorted(map(Trace, by_trace.values()), key=lambda trace: trace.started_ns)


def sessions_of(observations: Iterable[Observed]) -> list[SessionReplay]:
    """Return the sessions that *observations* belong to, in the order in which they started; untagged ones last."""
    by_session: dict[str | None, list[Observed]] = {}
    for observation in observations:
        by_session.setdefault(observation.session_id, []).append(observation)
    replays = [SessionReplay(session_id, of_session) for session_id, of_session in by_session.items()]
    return sorted(replays, key=lambda replay: (replay.session_id is None, replay.traces[0].started_ns))
