"""The sender: one thread that delivers to one target what waits in the journal, with back-off.

More than 300 lines: one thread's state machine.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable

from ..internals import faults
from ..internals.faults import logger, report, warn_once
from ..journal.backend import StorageBackend
from ..journal.storage import Storage
from ..settings import Settings
from .response import DeliveryResult, Outcome
from .target import Target

BACK_OFF_S = (0.5, 30.0)
ADOPT_S = 30.0
"""Seconds between two searches for writers that have died."""
ADOPT_FLUSHING_S = 1.0
FULL_ROWS = 1024
"""A batch of this many rows is sent at once."""

INTERRUPTED = DeliveryResult(Outcome.WAIT, "this writer has rows of its own")


class Sender:
    """Delivers this writer's rows, then those of writers that have died; sleeps when no row waits.

    Rows are gathered for `flush_interval_s`, or until there are FULL_ROWS. After a failure it waits, longer each time,
    with jitter; a flush tries at once, unless the target has asked to wait.

    Args:
        on_end: called on the thread when it ends, or by `join` if it never started.
    """

    def __init__(
        self, settings: Settings, storage: Storage, me: int, target: Target, on_end: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._storage = storage
        self._me = me
        self._target = target
        self._on_end = on_end
        self._full_rows = min(settings.flush_at or FULL_ROWS, FULL_ROWS)
        self._changed = threading.Condition()  # a forked child gets a sender of its own
        self._stopped = False
        self._written = self._done = 0  # rounds of the worker, and how many of them are delivered
        self._rows = 0
        self._since = 0.0
        self._adopted_at = -ADOPT_S
        self._adopted_in: weakref.WeakSet[StorageBackend] = weakref.WeakSet()
        self._backlog = False  # rows of dead writers wait
        self._failures = self._attempts = 0
        self._retry_at = self._not_before = self._scores_and_media_at = 0.0
        self._flushing = 0
        self._needs_user_action = False
        self._thread = threading.Thread(target=self._run, name="langfuse-integration-sender", daemon=True)

    def start(self) -> None:
        """Start the thread; when the interpreter is shutting down, the next process delivers instead.

        Where no thread can be had now, the next rows try again.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            self._stopped = sys.is_finalizing() or "shutdown" in str(error)

    # -- the worker's thread

    def wake(self, rows: int) -> None:
        """Note that the worker has written *rows* rows, and wake the thread."""
        if self._thread.ident is None and not self._stopped:
            self.start()
        with self._changed:
            if not self._written:
                self._backlog = True  # rows of dead writers are looked for with the first rows
            if self._written == self._done:
                self._since = time.monotonic()
                self._rows = 0
            self._written += 1
            self._rows += rows
            self._changed.notify_all()

    def stop(self) -> None:
        """Tell the thread to end; what waits stays in the journal."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end; a request in flight is not aborted, since the target may have received it."""
        if self._thread.ident is None:
            self._on_end()
        else:
            self._thread.join(timeout_s)

    def forked(self) -> None:
        """Keep the connection from being closed in a forked child."""
        _inherited.append(self._target)

    # -- any thread

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed, so that rows wait for another one."""
        return self._failures > 0

    def hurry(self) -> None:
        """Let the thread deliver at once, without waiting for it."""
        with self._changed:
            self._since = 0.0
            self._retry_at = self._not_before
            self._scores_and_media_at = 0.0
            self._changed.notify_all()

    def flush(self, deadline: float, give_up_early: bool = False) -> None:
        """Wait until everything written so far is delivered, or until *deadline*.

        Args:
            give_up_early: at the end of the process: also wait for rows of dead writers, but return as soon as
                retrying cannot help, as with keys that are refused or without a network.
        """
        if self._thread is threading.current_thread():  # a finalizer that the collector runs here
            return
        with self._changed:
            goal, attempts = self._written, self._attempts
            self._flushing += 1
            self._retry_at = self._not_before
            self._scores_and_media_at = 0.0
            self._changed.notify_all()
            try:
                while (self._done < goal or (give_up_early and self._backlog)) and not self._stopped:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 or (self._failures and self._not_before > deadline):
                        return
                    if give_up_early and self._needs_user_action and self._attempts > attempts:
                        return
                    if self._failures and not self._target.is_awaited:
                        return
                    self._changed.wait(left_s)
            finally:
                self._flushing -= 1

    # -- its own thread

    def _run(self) -> None:
        try:
            while self._await():
                try:
                    self._round()
                except Exception as error:  # our own fault: rows stay in the journal
                    report(f"sending to {self._target.name}", error)
                    self._wait(DeliveryResult(Outcome.WAIT, str(error)), warn=False)
                    if faults.strict:
                        raise
        finally:
            self._target.close()
            self._on_end()
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def _await(self) -> bool:
        """Sleep until the next round is due; return False when the sender is stopped."""
        with self._changed:
            while not self._stopped:
                if self._done == self._written and not self._backlog:
                    self._changed.wait()
                    continue
                left_s = self._due() - time.monotonic()
                if left_s <= 0:
                    return True
                self._changed.wait(left_s)
            return False

    def _due(self) -> float:
        if self._failures:
            return self._retry_at
        if self._flushing or self._rows >= self._full_rows or (self._backlog and self._done == self._written):
            return 0.0
        return self._since + self._settings.flush_interval_s

    def _round(self) -> None:
        """Deliver this writer's rows; then scores and media; then, until new rows come, the rows of dead writers."""
        with self._changed:
            goal = self._written
        self._adopt()
        results = [
            self._guarded(backend, lambda backend: self._deliver(backend, self._me))
            for backend in self._storage.backends()
        ]
        failure = next((result for result in results if result is not None), None)
        if failure is not None:
            self._wait(failure)
            return
        if time.monotonic() >= self._scores_and_media_at:
            self._deliver_scores_and_media()
        with self._changed:
            self._done = max(goal, self._done)
            self._changed.notify_all()
        more = False
        for backend in self._storage.backends():
            failure = self._guarded(backend, self._deliver_adopted)
            if failure is INTERRUPTED:
                more = True
            elif failure is not None:
                self._wait(failure)
                return
        with self._changed:
            self._backlog = more
            self._changed.notify_all()

    def _deliver_adopted(self, backend: StorageBackend) -> DeliveryResult | None:
        for writer in self._target.writers(backend):
            if writer != self._me:
                failure = self._deliver(backend, writer)
                if failure is not None:
                    return failure
        return None

    def _deliver(self, backend: StorageBackend, writer: int) -> DeliveryResult | None:
        """Deliver all rows of *writer*; return None when done, else the result that says why rows wait."""
        while not self._stopped:
            result = self._target.deliver(backend, writer)
            if result is None:
                return None
            if result.outcome is Outcome.WAIT:
                return result
            self._note_success()
            if backend.in_memory:
                self._storage.note_delivered()
            if writer != self._me and self._written > self._done:  # own rows first: a flush may wait for them
                return INTERRUPTED
        return None

    def _guarded(
        self, backend: StorageBackend, work: Callable[[StorageBackend], DeliveryResult | None]
    ) -> DeliveryResult | None:
        try:
            return work(backend)
        except (sqlite3.Error, OSError) as error:  # the worker handles a failing file
            if not self._storage.note_damage(backend, error):
                report("reading rows to send", error)
            return DeliveryResult(Outcome.WAIT, "")

    def _deliver_scores_and_media(self) -> None:
        """Deliver scores and media; when these have to wait, observations do not."""

        for backend in self._storage.backends():
            result = self._guarded(backend, self._target.deliver_scores_and_media)
            if result is not None:
                self._scores_and_media_at = time.monotonic() + BACK_OFF_S[1]
                if result.reason:
                    warn_once(
                        f"scores and media {result.reason}",
                        "Scores, media and what Langfuse is to delete wait in the journal: %s",
                        result.reason,
                    )

    def _adopt(self) -> None:
        if not self._written:  # the first rows may end observations that a parent process left open
            return
        now = time.monotonic()
        is_due = now - self._adopted_at >= (ADOPT_FLUSHING_S if self._flushing else ADOPT_S)
        for backend in self._storage.backends():
            if is_due or backend not in self._adopted_in:  # a recovered file has rows of dead writers, too
                self._adopted_at = now
                self._adopted_in.add(backend)
                self._guarded(backend, self._adopt_in)

    def _adopt_in(self, backend: StorageBackend) -> None:
        if self._target.adopt(backend):
            self._backlog = True

    def _note_success(self) -> None:
        if self._failures:
            logger().info("%s accepts observations again", self._target.name)
            self._failures = 0
        self._needs_user_action = False

    def _wait(self, result: DeliveryResult, warn: bool = True) -> None:
        shortest, longest = BACK_OFF_S
        now = time.monotonic()
        pause_s = min(longest, shortest * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        with self._changed:
            self._failures += 1
            self._attempts += 1
            self._needs_user_action = result.needs_user_action
            self._not_before = now + (result.wait_s or 0.0)
            self._retry_at = max(now + pause_s, self._not_before)
            self._changed.notify_all()
        if result.reason:
            logger().debug(
                "%s: %s; the next attempt is in %.1f s", self._target.name, result.reason, self._retry_at - now
            )
        if result.reason and warn:
            warn_once(
                f"sender {self._target.name} {result.reason}",
                "%s does not accept observations: %s. They wait in the journal",
                self._target.name,
                result.reason,
            )


_inherited: list[Target] = []
"""Targets of the parent process: closing a TLS connection in the child would end it for the parent too."""
