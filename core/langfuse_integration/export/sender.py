"""The sender: one thread that delivers what the journal holds, and knows when to wait."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable

from ..internals import faults
from ..internals.faults import logger, report, warn_once
from ..journal.storage import Place, Storage
from ..journal.writers import destination_of
from ..settings import Settings
from .delivery import Delivery
from .response import Judgement, Outcome

BACK_OFF_S = (0.5, 30.0)
ADOPT_S = 30.0
"""How often a sender that is awake looks for writers that have died."""
ADOPT_FLUSHING_S = 1.0
ENOUGH = 1024
"""Rows that are sent at once, however short they have waited."""

INTERRUPTED = Judgement(Outcome.WAIT, "this writer has rows of its own")

Settled = Callable[[int, int], None]
"""Told how many of this writer's rows were delivered, and how many refused."""


class Sender:
    """Delivers this writer's rows, then those of writers that have died; sleeps when there are none.

    Rows are gathered for `flush_interval_s`, or until there are many. After a failure it waits, longer each time and
    never for the same time as others; a flush tries at once, unless Langfuse has said when to come back.
    """

    def __init__(self, settings: Settings, shelf: Storage, me: int, settled: Settled) -> None:
        self._settings = settings
        self._shelf = shelf
        self._me = me
        self._settled = settled
        self._destination = destination_of(settings)
        self._enough = min(settings.flush_at or ENOUGH, ENOUGH)
        self._courier = Delivery(settings, self._delivered, self._refused)
        self._changed = threading.Condition()
        self._stopped = False
        self._written = self._done = 0  # rounds of the worker, and how many of them are delivered
        self._rows = 0
        self._since = 0.0
        self._adopted_at = -ADOPT_S
        self._backlog = True  # what the dead left is looked for at once
        self._failures = self._attempts = 0
        self._retry_at = self._not_before = self._extras_at = 0.0
        self._flushing = 0
        self._hopeless = False
        self._thread = threading.Thread(target=self._run, name="langfuse-integration-sender", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # too late in the life of the interpreter: the next process delivers
            self._stopped = True

    # -- the worker's thread

    def wake(self, rows: int) -> None:
        """Say that there is something to send."""
        with self._changed:
            if self._written == self._done:
                self._since = time.monotonic()
                self._rows = 0
            self._written += 1
            self._rows += rows
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread; it closes the shelf, and what waits stays in the journal."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end; a request that is under way is not broken off, since it may have arrived."""
        if self._thread.ident is None:
            self._shelf.close()
        else:
            self._thread.join(timeout_s)

    def forked(self) -> None:
        """Keep the connection from being closed in a forked child."""
        _inherited.append(self._courier)

    # -- any thread

    def flush(self, deadline: float, hoping: bool = True) -> None:
        """Wait until what was written before is delivered, or until *deadline*.

        Args:
            hoping: false at the end of the process: then what the dead left is waited for too, but only while trying
                again may help, so not with keys that are refused or without a network.
        """
        with self._changed:
            wanted, tried = self._written, self._attempts
            self._flushing += 1
            self._retry_at = self._not_before
            self._extras_at = 0.0
            self._changed.notify_all()
            try:
                while (self._done < wanted or (not hoping and self._backlog)) and not self._stopped:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 or (self._failures and self._not_before > deadline):
                        return
                    if not hoping and self._hopeless and self._attempts > tried:
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
                except Exception as error:  # a fault of ours: what waits stays where it is
                    report("sending to Langfuse", error)
                    self._wait(Judgement(Outcome.WAIT, str(error)), warn=False)
                    if faults.strict:
                        raise
        finally:
            self._courier.post.close()
            self._shelf.close()
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def _await(self) -> bool:
        """Sleep until it is time for a round; False when there will be none."""
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
        if self._flushing or self._rows >= self._enough or (self._backlog and self._done == self._written):
            return 0.0
        return self._since + self._settings.flush_interval_s

    def _round(self) -> None:
        """Deliver this writer's rows; then scores and media; then, as long as nothing new comes, those of the dead."""
        with self._changed:
            goal = self._written
        self._adopt()
        troubles = [
            self._guarded(place, lambda place: self._deliver(place, self._me)) for place in self._shelf.places()
        ]
        trouble = next((found for found in troubles if found is not None), None)
        if trouble is not None:
            self._wait(trouble)
            return
        if time.monotonic() >= self._extras_at:
            self._extras()
        with self._changed:
            self._done = max(goal, self._done)
            self._changed.notify_all()
        more = False
        for place in self._shelf.places():
            trouble = self._guarded(place, self._deliver_adopted)
            if trouble is INTERRUPTED:
                more = True
            elif trouble is not None:
                self._wait(trouble)
                return
        with self._changed:
            self._backlog = more
            self._changed.notify_all()

    def _deliver_adopted(self, place: Place) -> Judgement | None:
        for writer in place.writers.mine():
            if writer != self._me:
                trouble = self._deliver(place, writer)
                if trouble is not None:
                    return trouble
        return None

    def _deliver(self, place: Place, writer: int) -> Judgement | None:
        """Deliver all rows of *writer*; return what has to wait, if anything."""
        while not self._stopped:
            with self._shelf.held:
                if place not in self._shelf.places():  # it was moved to another one meanwhile
                    return None
                verdict = self._courier.spans(place.journal, writer)
            if verdict is None:
                return None
            if verdict.fate is Outcome.WAIT:
                return verdict
            self._works()
            if writer != self._me and self._written > self._done:  # own rows first: somebody may wait for them
                return INTERRUPTED
        return None

    def _guarded(self, place: Place, work: Callable[[Place], Judgement | None]) -> Judgement | None:
        try:
            return work(place)
        except (sqlite3.Error, OSError) as error:  # a file that fails: the worker sees to that
            if not self._shelf.doubt(error):
                report("reading what is to be sent", error)
            return Judgement(Outcome.WAIT, "")

    def _extras(self) -> None:
        """Deliver scores and media; when they have to wait, observations do not."""

        def deliver(place: Place) -> Judgement | None:
            return self._courier.extras(place.extras, place.writers.mine() or [self._me])

        for place in self._shelf.places():
            verdict = self._guarded(place, deliver)
            if verdict is not None:
                self._extras_at = time.monotonic() + BACK_OFF_S[1]
                if verdict.reason:
                    warn_once(f"extras {verdict.reason}", "Scores and media wait in the journal: %s", verdict.reason)

    def _adopt(self) -> None:
        now = time.monotonic()
        if now - self._adopted_at < (ADOPT_FLUSHING_S if self._flushing else ADOPT_S):
            return
        if not self._written:  # the first rows may end what a parent process left open: not to be ended here before
            return
        for place in self._shelf.places():
            self._adopted_at = now
            self._guarded(place, self._adopt_in)

    def _adopt_in(self, place: Place) -> None:
        if place.writers.adopt(self._destination):
            self._backlog = True
        strangers = place.writers.strangers()
        if strangers:
            warn_once(
                "strangers",
                "The journal %s holds %d observations for another Langfuse project, or for keys of before: "
                "`langfuse-integration push --all` delivers them to the present one",
                place.journal.path,
                strangers,
            )

    def _works(self) -> None:
        if self._failures:
            logger().info("Langfuse at %s takes observations again", self._courier.post.address)
            self._failures = 0
        self._hopeless = False

    def _wait(self, verdict: Judgement, warn: bool = True) -> None:
        least, most = BACK_OFF_S
        now = time.monotonic()
        pause_s = min(most, least * 2 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        with self._changed:
            self._failures += 1
            self._attempts += 1
            self._hopeless = verdict.needs_user_action
            self._not_before = now + (verdict.wait_s or 0.0)
            self._retry_at = max(now + pause_s, self._not_before)
            self._changed.notify_all()
        if verdict.reason and warn:
            warn_once(
                f"sender {verdict.reason}",
                "Langfuse at %s does not take observations: %s. They wait in the journal",
                self._courier.post.address,
                verdict.reason,
            )

    def _delivered(self, writer: int, count: int) -> None:
        if writer == self._me:
            self._settled(count, 0)

    def _refused(self, writer: int, count: int) -> None:
        if writer == self._me:
            self._settled(0, count)


_inherited: list[Delivery] = []
"""Of the parent process: a TLS connection that is closed here says goodbye for the parent too."""
