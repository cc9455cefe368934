"""Which session is active here.

One ContextVar points to a cell. A cell that a host owns (a Streamlit tab, an ASGI request) is shared by everything of
that host's user and changes in place; any other `set` installs a new cell, so that sibling tasks cannot mix. A cell
without a session is a tombstone: the look-up ends there. What no cell, no host and no declared default can tell is
untagged, never guessed.

More than 300 lines: the look-up and the blocks share one context variable.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from functools import partial
from types import FrameType, TracebackType
from typing import Protocol, Self

from ..internals import forks
from ..internals.faults import shielded
from ..internals.generator_blocks import GENERATOR, GeneratorBlocks
from .loop_tasks import LoopTasks
from .nesting import inside, nested
from .session import Session

before_first_cell: Callable[[], None] | None = None
"""Called before the first cell of a process is made: where threads would inherit it."""


class Use:
    """Whether the session of a cell was read."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = False


class Cell:
    """A place that holds the active session.

    Attributes:
        session: the session, or None.
        is_set: False in a host's cell that nobody has set yet: the look-up goes on. Otherwise None is a tombstone.
        owner: the host's cell under which this one was made (a host's cell owns itself), or None outside of hosts.
        changed: in a host's cell, what the host wants to be called with when the application sets another session.
        use: set by who wants to know whether it was of use.
        scope: the innermost block in which this one became active, or None; a host's cell has none.
        sealed: what is propagated around the block is of somebody else, and not asked.
        job_end: takes this cell out of its context when a job of a thread or pool ends; None outside of jobs.
        tasks: in the cell of a request or job, the tasks of event loops in it; None elsewhere.
    """

    __slots__ = ("__weakref__", "changed", "is_set", "job_end", "owner", "scope", "sealed", "session", "tasks", "use")

    def __init__(self, session: Session | None, owner: Cell | None = None, scope: Scope | None = None) -> None:
        global before_first_cell
        before = before_first_cell
        if before is not None:
            before()
            before_first_cell = None
        self.session = session
        self.is_set = True
        self.owner = owner
        self.scope = scope
        self.changed: Callable[[Session | None], None] | None = None
        self.use: Use | None = None
        self.sealed = False
        self.job_end: JobEnd | None = None
        self.tasks: LoopTasks[Cell] | None = None

    @classmethod
    def hosted(cls) -> Self:
        """Return an empty cell that owns itself: for a host to keep, one per user's visit."""
        cell = cls(None)
        cell.is_set = False
        cell.owner = cell
        return cell

    @classmethod
    def of_request(cls) -> Self:
        """Return an empty cell that owns itself: for a request or job, whose tasks may be for several users."""
        cell = cls.hosted()
        cell.tasks = LoopTasks()
        return cell

    def begin(self) -> None:
        """Note that the calling task, if it is one, serves the request or job itself."""
        if self.tasks is not None:
            self.tasks.begin()


class Job:
    """Stands for a job of a pool where its thread has no other object of it; dies with the job."""

    __slots__ = ("__weakref__",)


class NumberedJob(Job):
    """A job whose end nobody tells: the thread then has a job with another number."""

    __slots__ = ()

    def serves_here(self) -> bool:
        """Return whether this thread runs the job now."""
        raise NotImplementedError


class RequestCell(Cell):
    """The cell of a request that is told by the frames of the code that serves it, not by a context.

    Its session holds where these frames are, and in other threads in contexts that were copied from the request.
    """

    __slots__ = ()

    def serves_here(self) -> bool:
        """Return whether the code that serves the request has called the caller, also where it streams the answer."""
        raise NotImplementedError


class JobEnd:
    """Puts back what was active before a job when the job is over, in the context in which the job ran.

    Contexts that were copied from the job keep its session: they are work that it started.

    Args:
        job: an object that lives as long as the job; a request's cell may live longer.
        cell: the cell that is now active in the job.
        before: the cell that was active until now.

    Attributes:
        before: the cell that was active before the job.
    """

    __slots__ = ("_cell", "_thread", "before", "job")

    before: Cell | None

    def __init__(self, job: object, cell: Cell, before: Cell | None) -> None:
        while before is not None and before.job_end is not None:
            if before.job_end.job() not in (None, job) and not before.job_end.is_left():
                break
            before = before.job_end.before
        self.before = before
        self._cell = weakref.ref(cell)
        self._thread = threading.get_ident() if isinstance(job, (RequestCell, NumberedJob)) else None
        self.job: weakref.ref[object] = weakref.ref(job, self._leave)

    def is_left(self) -> bool:
        """Return whether the thread of a request or task does something else now: whoever keeps what stands for it."""
        if self._thread is None or self._thread != threading.get_ident():
            return False
        job = self.job()
        return not (isinstance(job, (RequestCell, NumberedJob)) and job.serves_here())

    def _leave(self, _job: object) -> None:
        cell = self._cell()
        if cell is not None and _cell.get() is cell:
            _cell.set(self.before)


class Host(Protocol):
    """An environment that knows whose work is running, such as a Streamlit server."""

    def cell(self) -> Cell | None:
        """Return the cell of the visit that is visible from here, or None when there is none.

        Asked in a context that holds no cell of a visit; a host may place it there for the next time.
        """
        ...


class Captured(Protocol):
    """A parent, as far as sessions go: an observation, or a span of somebody else."""

    @property
    def session(self) -> Session | None: ...
    @property
    def origin(self) -> Session | None: ...


_PROPAGATED = ("session_id", "user_id", "tags", "metadata", "trace_name", "version", "environment", "prompt_name")
PROPAGATED_KEYS = frozenset(f"langfuse.propagated.{name}" for name in (*_PROPAGATED, "experiment_id"))
"""Where Langfuse's `propagate_attributes` keeps its values in OpenTelemetry's context (SDK 4.7 to 5.0)."""

HostLoader = Callable[["SessionStore"], Host]
"""Makes a host, once the application has imported what it is for."""

_LOADING = shielded("loading what knows the application's environment")

_modules = sys.modules
_cell: ContextVar[Cell | None] = ContextVar("langfuse_integration_cell", default=None)
_set_here: ContextVar[object] = ContextVar("langfuse_integration_set_here", default=False)
"""What the code of this context has set last in the cell of a visit, which other contexts share; False is nothing."""
_generators: GeneratorBlocks[Scope] = GeneratorBlocks()
_open_generators = _generators.by_frame


class SessionStore:
    """Looks up, sets and clears the active session; one per process."""

    def __init__(self) -> None:
        self._hosts: tuple[Host, ...] = ()
        self._unseen: tuple[str, ...] = ()
        self._loaders: dict[str, HostLoader] = {}
        self._loading = forks.Lock(reentrant=True)
        self._busy: set[str] = set()
        self._default: Session | None = None
        self.propagated_session: Callable[..., Session | None] = lambda context=None: None
        """Returns what another library propagates here (Langfuse's own), which fills what our session leaves open."""
        self.propagation_context: Callable[[], Iterable[str]] = tuple
        """Returns the keys among which `PROPAGATED_KEYS` stand when that library propagates anything."""
        self._servers: tuple[str, ...] = ()
        self._separate: Callable[[SessionStore, str], None] | None = None
        self.thread_cell: Callable[[], Cell | None] | None = None
        """Asked for the cell that a bare thread was started with, where threads are instrumented."""
        self.current_job: Callable[[SessionStore], object | None] = lambda store: None
        """Returns what lives as long as the pool's job around the caller, a `RequestCell`, or None."""

    # -- looking up

    def cell(self) -> Cell | None:
        """Return the cell that is active here.

        A cell of a visit holds wherever its context was copied to, since a context follows the work, while what a host
        sees may follow the thread: a loop or a pool that one user's visit started works for others too. Without such
        a cell the hosts are asked.
        """
        cell = _cell.get()
        if _open_generators:
            resumed = _resumed(cell)
            if resumed is not None:
                return resumed
        if cell is not None and cell.owner is not None:
            return cell
        if cell is None and self.thread_cell is not None:
            cell = self.thread_cell()
            if cell is not None:
                return cell
        for name in self._unseen:
            if name in _modules:
                self._load_host(name)
        return self._told_by_hosts(cell) if self._hosts else cell

    def _told_by_hosts(self, cell: Cell | None) -> Cell | None:
        for host in self._hosts:
            visit = host.cell()
            if visit is not None:
                return cell if cell is not None and _hides(cell, visit) else visit
        while cell is not None and cell.job_end is not None and cell.job_end.is_left():
            cell = cell.job_end.before
        return cell

    def current(self) -> Session | None:
        """Return the session that is active here, or None."""
        cell = _cell.get()
        resumed = _resumed(cell) if _open_generators else None
        if resumed is not None:
            cell = resumed
        elif cell is None or cell.owner is None:  # as in `cell`, without a call where there is no host
            for name in self._unseen:
                if name in _modules:
                    self._load_host(name)
            if self._hosts or self.thread_cell is not None:
                cell = self.cell()
            if cell is not None and cell.use is not None:
                cell.use.used = True
        if cell is not None and cell.tasks is not None and cell.tasks.shown is not None and cell.tasks.shows_here():
            cell = cell.tasks.shown
        if cell is not None and cell.is_set:
            session = cell.session
            if session is None or cell.sealed or PROPAGATED_KEYS.isdisjoint(self.propagation_context()):
                return session
            return session.carrying(self.propagated_session())
        return self.propagated_session() or self._default

    def resolve(self, parent: Captured | None) -> tuple[Session | None, Session | None]:
        """Return (session, origin) for something that starts here below *parent*, which was found in this context.

        The parent's session holds, unless the active session was changed since the parent started: then somebody
        called `set_session` in between, and that is the truth from there on. So it is within a block of
        `propagate_attributes` that began since, see nesting.py. *origin* is what was active here.
        """
        now = self.current()
        if parent is None:
            return now, now
        if now is parent.origin:
            return parent.session or now, now
        return inside(now, parent.origin, parent.session) or now, now

    def below(self, now: Session | None, parent: Captured) -> Session | None:
        """Return the session of a run that starts here below *parent*, a run whose own code starts it.

        Other than in `resolve`, a session that somebody else set counts for nothing: that of a host's visit, such as a
        browser tab whose user has begun another conversation meanwhile, or the process's default.

        Args:
            now: what is active here.
            parent: a run, or a span inside of it.
        """
        cell = self.cell()
        if cell is None or not cell.is_set or (cell.owner is cell and cell.session is not _set_here.get()):
            return nested(now, parent.origin, parent.session) or parent.session
        return inside(now, parent.origin, parent.session)

    # -- changing

    def set(self, session: Session | None) -> None:
        """Make *session* active from now on; None ends the look-up there: untagged."""
        for name in self._servers:
            if name in _modules:
                self._separate_requests(name)
        cell = self.cell()
        active = _cell.get()
        if _open_generators:
            active = _resumed(active) or active
        job = self._job_of(cell)
        visit = job if isinstance(job, RequestCell) else cell if cell is not None and cell.owner is cell else None
        if visit is not None:
            if _set_in_visit(visit, session) or visit is not job:
                return
            cell = None
        changed = Cell(session, cell.owner if cell is not None else None, active.scope if active is not None else None)
        if job is not None:
            changed.job_end = JobEnd(job, changed, active)
        _cell.set(changed)
        if changed.scope is not None and _open_generators and _generators.innermost() is changed.scope:
            changed.scope.latest = changed

    def _job_of(self, cell: Cell | None) -> object | None:
        """Return what lives as long as the job or request around the caller, whose active cell is *cell*; else None."""
        if cell is None or cell.owner is None:
            return self.current_job(self)
        return cell if cell.owner is cell and isinstance(cell, RequestCell) else None

    def scoped(self, session: Session | None, *, sealed: bool = False) -> Scope:
        """Return a block in which *session* is active; the previous one is restored at its end.

        Args:
            sealed: see `Cell`.
        """
        return Scope(self, session, sealed=sealed)

    def unset(self) -> Scope:
        """Return a block that begins as a fresh process does: nothing set and nothing cleared. For tests."""
        return Scope(self, None, is_set=False)

    def visiting(self, cell: Cell) -> Scope:
        """Return a block in which a host's *cell* is the active one."""
        return Scope(self, None, visit=cell)

    def place(self, cell: Cell) -> None:
        """Make a host's *cell* the active one in this context: for hosts."""
        _cell.set(cell)

    def place_once(self, cell: Cell) -> None:
        """Make a host's *cell* the active one, unless this context is in that visit already: for steps of one work."""
        active = _cell.get()
        if active is None or active.owner is not cell:
            _cell.set(cell)

    def leave_jobs(self) -> None:
        """Leave what earlier jobs have set in this context: for a pool whose thread begins another one."""
        cell = before = _cell.get()
        while cell is not None and cell.job_end is not None:
            cell = cell.job_end.before
        if cell is not before:
            _cell.set(cell)

    def load_hosts(self) -> None:
        """Add the hosts of what the application has imported, before anything is set."""
        for name in self._unseen:
            if name in _modules:
                self._load_host(name)

    def declare_default(self, session: Session | None) -> None:
        """Use *session* wherever no other is known: right only in a process with a single user."""
        self._default = session

    def load_host_with(self, module: str, loader: HostLoader) -> None:
        """Add the host that *loader* makes as soon as the application has imported *module*."""
        self._loaders[module] = loader
        self._unseen = (*self._unseen, module)

    def separate_requests_with(self, servers: Iterable[str], separate: Callable[[SessionStore, str], None]) -> None:
        """Call *separate* with this store and the name of a server's module when a session is set where it is loaded.

        Only what `set` leaves behind could reach the next request of a server's thread.
        """
        self._servers = tuple(servers)
        self._separate = separate

    @property
    def automatic_hosts(self) -> tuple[str, ...]:
        """The modules whose hosts load by themselves."""
        return tuple(self._loaders)

    def add_host(self, host: Host) -> None:
        """Ask *host* first from now on."""
        if host not in self._hosts:
            self._hosts = (host, *self._hosts)

    def remove_host(self, host: Host) -> None:
        """Do not ask *host* any more."""
        self._hosts = tuple(other for other in self._hosts if other is not host)

    def _separate_requests(self, name: str) -> None:
        if getattr(getattr(_modules[name], "__spec__", None), "_initializing", False):
            return  # still being imported
        with self._loading, _LOADING:
            if name in self._servers and self._separate is not None:
                self._servers = tuple(other for other in self._servers if other != name)
                self._separate(self, name)

    def _load_host(self, name: str) -> None:
        if getattr(getattr(_modules[name], "__spec__", None), "_initializing", False):
            return  # still being imported
        with self._loading:  # others wait here: what they set before the host is there would be nobody's
            if name in self._unseen and name not in self._busy:
                self._busy.add(name)
                with _LOADING:
                    self.add_host(self._loaders[name](self))
                self._unseen = tuple(unseen for unseen in self._unseen if unseen != name)


def _set_in_visit(visit: Cell, session: Session | None) -> bool:
    """Set the session of a visit; return whether the calling task, one within it, has got a cell of its own."""
    tasks = visit.tasks
    task = tasks.inner() if tasks is not None else None
    if tasks is None or task is None:
        _fill(visit, session)
        return False
    own = Cell.of_request()
    own.begin()
    _fill(own, session)
    own.changed = partial(_tell, visit, weakref.ref(task), weakref.ref(own))
    own.changed(session)
    _cell.set(own)
    return True


def _tell(visit: Cell, task: weakref.ref[object], own: weakref.ref[Cell], session: Session | None) -> None:
    """Let a visit know what a task within it has set in a cell of its *own*."""
    place = own()
    if visit.tasks is not None and place is not None:
        is_only = visit.tasks.show(task(), place)
        if visit.changed is not None:
            visit.changed(session if is_only else visit.session)


def _fill(visit: Cell, session: Session | None) -> None:
    visit.session = session
    visit.is_set = True
    if visit.tasks is not None:
        visit.tasks.shown = None
    _set_here.set(session)
    if visit.changed is not None:
        visit.changed(session)


def _hides(cell: Cell, visit: Cell) -> bool:
    """Return whether *cell* is that of a block, which began before requests were known, and *visit* has no session."""
    return not visit.is_set and isinstance(visit, RequestCell) and cell.scope is not None and cell.scope.begins(cell)


def _resumed(cell: Cell | None) -> Cell | None:
    """Return the cell of a generator's block around this line, where *cell*, that of the context, is not inside of it.

    A visit that began inside of a generator, such as a request to an application in the same process, is its own.
    """
    scope = _generators.innermost()
    if scope is None:
        return None
    if cell is not None:
        if cell.owner is cell and scope.latest.owner is not cell:
            return None
        inner = cell.scope
        while inner is not None:
            if inner is scope:
                return None
            inner = inner.outer
    return scope.latest


class Scope:
    """A `with` or `async with` block in which a session is active. Each use is a new one.

    Blocks of generators may overlap, and end in any order: a block that ends while a later one is open leaves that one
    active, and is skipped when the later one restores what was active before it.

    Attributes:
        outer: the block around this one, or None.
        latest: the cell of this block; in a generator, that of the last `set` in it.
    """

    __slots__ = (
        "_cell",
        "_ended",
        "_frame",
        "_is_set",
        "_sealed",
        "_session",
        "_store",
        "_token",
        "_visit",
        "latest",
        "outer",
    )

    latest: Cell

    def __init__(
        self,
        store: SessionStore,
        session: Session | None,
        *,
        is_set: bool = True,
        sealed: bool = False,
        visit: Cell | None = None,
    ) -> None:
        self._store = store
        self._session = session
        self._is_set = is_set
        self._sealed = sealed
        self._visit = visit
        self._ended: Token[Cell | None] | None = None
        self._frame: FrameType | None = None
        self.outer: Scope | None = None

    def __enter__(self) -> Session | None:
        cell = self._visit
        if cell is not None:
            cell.begin()
        else:
            before = self._store.cell()
            cell = Cell(self._session, before.owner if before is not None else None, self)
            cell.is_set = self._is_set
            cell.sealed = self._sealed
            if before is not None:
                self.outer = before.scope
            frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
            if frame.f_code.co_flags & GENERATOR and self._is_set:
                self._frame = frame
                _generators.open(frame, self)
        self._cell = self.latest = cell
        self._token = _cell.set(cell)
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        active = _cell.get()
        if self._frame is not None:
            _generators.close(self._frame, self)
            self._frame = None
        try:
            _cell.reset(self._token)
        except ValueError:
            return  # opened in another context, as by a generator that is closed elsewhere: nothing here is ours
        if active is not self._cell and active is not None and active.scope is not self:
            self._ended = _cell.set(active if active.scope is not None else _cell.get())
            return
        before = _cell.get()
        while before is not None and before.scope is not None and before.scope.has_ended_here():
            before = before.scope.before
            _cell.set(before)

    @property
    def before(self) -> Cell | None:
        """The cell that was active when the block began."""
        return None if self._token.old_value is Token.MISSING else self._token.old_value

    def begins(self, cell: Cell) -> bool:
        """Return whether the block began with *cell*; others were set in it."""
        return cell is self._cell

    def has_ended_here(self) -> bool:
        """Return whether the block ended in this very context, not in one that this was copied from; asked once."""
        try:
            if self._ended is not None:
                _cell.reset(self._ended)
        except (ValueError, RuntimeError):
            return False
        return self._ended is not None

    async def __aenter__(self) -> Session | None:
        session = self.__enter__()
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        if frame.f_code.co_flags & GENERATOR and self._visit is None:
            self._frame = frame
            _generators.open(frame, self)
        return session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
