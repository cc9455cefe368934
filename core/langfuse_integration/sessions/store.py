"""Which session is active here.

One ContextVar points to a cell: see cells.py. A cell without a session is a tombstone: the look-up ends there. What no
cell, no host and no declared default can tell is untagged, never guessed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Protocol

from ..internals import forks
from ..internals.faults import shielded
from ..internals.garbage import collecting, spare_context, watch
from .blocks import Scope, abandoned, generators, leave_abandoned, open_generators, resumed_cell
from .cells import Cell, active_cell, set_here, set_in_visit
from .jobs import JobEnd, NumberedJob, RequestCell
from .nesting import inside, nested
from .session import Session


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


class SessionStore:
    """Looks up, sets and clears the active session; one per process."""

    def __init__(self) -> None:
        self._hosts: tuple[Host, ...] = ()
        self._unseen: tuple[str, ...] = ()
        self._loaders: dict[str, HostLoader] = {}
        self._loading = forks.Lock()
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
        cell = leave_abandoned() if abandoned else active_cell.get()
        if open_generators:
            resumed = resumed_cell(cell)
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
        end = cell.job_end if cell is not None else None
        return self._told_by_hosts(cell) if self._hosts or (end is not None and end.is_collected) else cell

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
        cell = leave_abandoned() if abandoned else active_cell.get()
        resumed = resumed_cell(cell) if open_generators else None
        if resumed is not None:
            cell = resumed
        elif cell is None or cell.owner is None:  # as in `cell`, without a call where there is no host
            for name in self._unseen:
                if name in _modules:
                    self._load_host(name)
            end = cell.job_end if cell is not None else None
            if self._hosts or self.thread_cell is not None or (end is not None and end.is_collected):
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
        if cell is None or not cell.is_set or (cell.owner is cell and cell.session is not set_here.get()):
            return nested(now, parent.origin, parent.session) or parent.session
        return inside(now, parent.origin, parent.session)

    # -- changing

    def set(self, session: Session | None) -> None:
        """Make *session* active from now on; None ends the look-up there: untagged."""
        watch()
        for name in self._servers:
            if name in _modules:
                self._separate_requests(name)
        if collecting:
            spare_context()
        cell = self.cell()
        active = active_cell.get()
        if open_generators:
            active = resumed_cell(active) or active
        job = self._job_of(cell)
        visit = job if isinstance(job, RequestCell) else cell if cell is not None and cell.owner is cell else None
        if visit is not None:
            if self._set_in_visit(visit, session, active) or visit is not job:
                return
            cell = None
        changed = Cell(session, cell.owner if cell is not None else None, active.scope if active is not None else None)
        if job is not None:
            changed.job_end = JobEnd(job, changed, active)
        active_cell.set(changed)
        block = generators.innermost() if open_generators else None
        if block is not None and block is changed.scope:
            block.latest = changed

    def _set_in_visit(self, visit: Cell, session: Session | None, active: Cell | None) -> bool:
        """Set the session of a visit; return whether the calling task or thread within it has got a cell of its own."""
        carried = active is None and self.thread_cell is not None and self.thread_cell() is visit
        job = self.current_job(self) if carried else None
        own = set_in_visit(visit, session, carried=carried and not isinstance(job, (NumberedJob, RequestCell)))
        if own is not None and job is not None:
            own.job_end = JobEnd(job, own, active)
        return own is not None

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
        return Scope(self.cell, session, sealed=sealed)

    def unset(self) -> Scope:
        """Return a block that begins as a fresh process does: nothing set and nothing cleared. For tests."""
        return Scope(self.cell, None, is_set=False)

    def visiting(self, cell: Cell) -> Scope:
        """Return a block in which a host's *cell* is the active one."""
        return Scope(self.cell, None, visit=cell)

    def place(self, cell: Cell) -> None:
        """Make a host's *cell* the active one in this context: for hosts."""
        active_cell.set(cell)

    def place_once(self, cell: Cell) -> None:
        """Make a host's *cell* the active one, unless this context is in that visit already: for steps of one work."""
        active = active_cell.get()
        if active is None or active.owner is not cell:
            active_cell.set(cell)

    def leave_jobs(self) -> None:
        """Leave what earlier jobs have set in this context: for a pool whose thread begins another one."""
        cell = before = active_cell.get()
        while cell is not None and cell.job_end is not None:
            cell = cell.job_end.before
        if cell is not before:
            active_cell.set(cell)

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


def _hides(cell: Cell, visit: Cell) -> bool:
    """Return whether *cell* is that of a block, which began before requests were known, and *visit* has no session."""
    return not visit.is_set and isinstance(visit, RequestCell) and cell.scope is not None and cell.scope.begins(cell)
