"""RunRegistry: one per process, bounded, told by everybody, ended once."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any
from uuid import uuid4

from langfuse_integration import langfuse_manager
from langfuse_integration.recording import tracing
from langfuse_integration.recording.observation import Observation
from langfuse_integration.recording.registry import Run, RunRegistry, RunStart
from langfuse_integration.testing import RecordedSessions


def observation(name: str = "run") -> Observation:
    return Observation(name, "chain", tracing.recorder, None)


def starting(key: Hashable, parent_key: Hashable | None, name: str, kind: Any, **options: Any) -> RunStart:
    start = RunStart()
    start.key, start.parent_key, start.name, start.type = key, parent_key, name, kind
    for option, value in options.items():
        setattr(start, option, value)
    return start


def opened(registry: RunRegistry, key: Hashable, name: str = "run") -> Run | None:
    row = observation(name)
    return registry.open(starting(key, None, name, "chain"), None, row, row)


def open_run(key: Hashable, parent_key: Hashable | None, name: str, kind: Any, **options: Any) -> Run | None:
    parent = tracing.registry.get(parent_key) if parent_key is not None else None
    return tracing.open_run(starting(key, parent_key, name, kind, **options), None, parent)


def test_a_run_is_opened_once_however_often_it_is_announced(sessions: RecordedSessions) -> None:
    """Two handlers announce the same run: one row, in one trace."""
    key = uuid4()
    first = open_run(key, None, "chain", "chain")
    assert first is not None
    assert open_run(key, None, "chain", "chain") is None
    run = tracing.registry.close(key)
    assert run is first
    run.observation.finish("done")
    assert tracing.registry.close(key) is None
    assert sessions.trace().tree() == ["chain chain"]


def test_children_inherit_from_their_run_and_not_from_where_they_are_told() -> None:
    """A callback that arrives in another user's context changes nothing: parent and session come by run id."""
    root, child, grandchild = uuid4(), uuid4(), uuid4()
    with langfuse_manager.session("a", "alice"):
        top = open_run(root, None, "root", "chain")
    assert top is not None
    langfuse_manager.set_session("b", "bob")
    folded = tracing.fold_run(starting(child, root, "plumbing", "chain"), top)
    leaf = open_run(grandchild, child, "leaf", "tool")
    assert folded is not None
    assert leaf is not None
    assert leaf.observation.session is top.observation.session
    assert (leaf.observation.trace, leaf.observation.parent) == (top.observation.trace, top.observation.span)
    assert list(leaf.lineage()) == [leaf, folded, top]
    assert leaf.root is top
    assert list(top.open_below()) == [leaf, folded]
    langfuse_manager.clear_session()
    late = tracing.registry.close(root)
    assert late is top
    straggler = open_run(uuid4(), root, "late", "tool")
    assert straggler is not None
    assert straggler.observation.parent == top.observation.span
    assert straggler.observation.session is top.observation.session


def test_an_untagged_run_stays_untagged_below(sessions: RecordedSessions) -> None:
    """A child of a run without a session is not given that of whoever consumes it."""
    root = uuid4()
    open_run(root, None, "root", "chain")
    with langfuse_manager.session("b"):
        child = open_run(uuid4(), root, "child", "tool")
    assert child is not None
    assert child.observation.session is None


def test_a_bound_session_goes_before_everything_and_a_suggested_one_before_the_active_one() -> None:
    """The look-up order of a run: bound, parent, suggested, active."""
    from langfuse_integration import Session

    bound, suggested = Session("bound"), Session("suggested")
    langfuse_manager.set_session("active")

    def session_of(**options: Session) -> str | None:
        run = open_run(uuid4(), None, "run", "chain", **options)  # type: ignore[arg-type]
        assert run is not None
        assert run.observation.session is not None
        return run.observation.session.session_id

    assert session_of() == "active"
    assert session_of(suggested=suggested) == "suggested"
    assert session_of(suggested=suggested, session=bound) == "bound"
    with langfuse_manager.trace_span("around"):
        assert session_of(suggested=suggested) == "active"
        assert session_of(session=bound) == "bound"


def test_the_registry_is_bounded_and_says_what_gave_way(sessions: RecordedSessions) -> None:
    """The oldest run is recorded with a warning when too many are open."""
    registry = RunRegistry(open_limit=3, ended_limit=2)
    for index in range(5):
        assert opened(registry, index, f"run-{index}")
    assert [run.key for run in registry.open_runs()] == [2, 3, 4]
    assert {(found.name, found.level) for found in sessions.observations} == {
        ("run-0", "WARNING"),
        ("run-1", "WARNING"),
    }
    for index in (2, 3, 4):
        registry.close(index)
    assert len(registry) == 0
    assert registry.footprint(2) is None
    assert registry.footprint(4) is not None


def test_threads_that_open_and_close_leave_nothing(sessions: RecordedSessions) -> None:
    """Eight threads with a limit that evicts all the time: no exception, nothing left."""
    registry = RunRegistry(open_limit=20, ended_limit=20)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for index in range(500):
                opened(registry, (number, index))
                if index >= 5:
                    registry.close((number, index - 5))
        except BaseException as error:  # noqa: BLE001  shown below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(registry) <= 20
    for run in registry.open_runs():
        registry.close(run.key)
    assert len(registry) == 0


def test_a_span_that_is_open_inside_a_run_goes_before_the_run(sessions: RecordedSessions) -> None:
    """Code inside a run opens a span and starts another run in it: that one stands below the span, in its session."""
    root, child = uuid4(), uuid4()
    with langfuse_manager.session("a"):
        tool = open_run(root, None, "tool", "tool")
    assert tool is not None
    with tracing.start_below(tool.anchor, "step", "span") as step:
        inner = open_run(child, root, "chain", "chain", above=step)
    assert inner is not None
    assert inner.parent is tool
    for key in (child, root):
        run = tracing.registry.close(key)
        assert run is not None
        run.observation.finish("done")
    assert sessions.trace().tree() == [{"tool tool": [{"span step": ["chain chain"]}]}]
    assert {found.session_id for found in sessions.observations} == {"a"}


def test_a_sweep_ends_what_nobody_will_end(sessions: RecordedSessions) -> None:
    """An adapter's sweep is called before each round of the worker, so that a flush records what it ends."""
    run = open_run(uuid4(), None, "forgotten", "generation")
    assert run is not None

    def sweep() -> None:
        if tracing.registry.close(run.key) is not None:
            run.observation.cancel()
            run.observation.finish()

    tracing.recorder.sweeps += (sweep,)
    try:
        assert [found.status_message for found in sessions.observations] == ["cancelled"]
    finally:
        tracing.recorder.sweeps = tuple(known for known in tracing.recorder.sweeps if known is not sweep)


def test_two_ends_that_find_the_footprints_full_at_once() -> None:
    """A run that ends while another one makes room for its footprint leaves its own."""
    registry = RunRegistry(ended_limit=4)
    for key in ("first", "second", "mine", "other"):
        opened(registry, key)
    registry.close("first")
    registry.close("second")

    class Interrupted(dict[Any, Any]):
        """Entries that are counted by a thread which then has to wait for another one."""

        def __len__(self) -> int:
            registry.close("other")
            return super().__len__()

    registry._ended = Interrupted(registry._ended)
    registry.close("mine")
    assert [key for key in ("second", "mine", "other") if registry.footprint(key) is None] == []
