"""A worker that writes only when a test says so: what is busy elsewhere behaves like that, without a race."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from langfuse_integration.encoding import history
from langfuse_integration.encoding.fields import Fields
from langfuse_integration.encoding.media import MediaSieve
from langfuse_integration.encoding.row import Encoder
from langfuse_integration.export.outlet import Outlet
from langfuse_integration.export.worker import Worker
from langfuse_integration.reading.replay import Observed
from langfuse_integration.recording import tracing
from langfuse_integration.recording.score import Score


class StoppedRows(Outlet):
    """Rows in memory, encoded by `write`.

    Args:
        shares: whether rows share the text of histories, as they do on their way to the journal.
    """

    def __init__(self, *, shares: bool) -> None:
        fields = Fields(media=MediaSieve().sift)
        fields.shares = shares
        self._encoder = Encoder(fields, None, None, {})
        self._rows: list[Observed] = []
        self._worker: _Stopped | None = None

    def worker(self, recorder: Any) -> Any:
        """Return the worker for *recorder*."""
        self._worker = _Stopped(recorder, self)
        return self._worker

    def write(self) -> list[Observed]:
        """Encode what has been recorded, and return the rows since the last time, by their starts."""
        tracing.recorder.flush(60)
        rows, self._rows = self._rows, []
        return sorted(rows, key=lambda row: row.started_ns)

    def take(self, finished: Sequence[Any], opened: Sequence[Any], scores: Sequence[Score]) -> None:
        for record in finished:
            self._rows += Observed.decoded(bytes(self._encoder.encode(record).body))


class _Stopped(Worker):
    def __init__(self, recorder: Any, outlet: Outlet) -> None:
        super().__init__(recorder, outlet)
        self._ended = threading.Event()

    def run(self) -> None:
        self._ended.wait()

    def flush(self, deadline: float, written_by: float | None = None, ending: bool = False) -> None:
        self._drain()

    def stop(self) -> None:
        self._ended.set()


@contextmanager
def stopped_worker(*, shares: bool = True) -> Generator[StoppedRows]:
    """Record in memory within the block; nothing is encoded before `write`, and nothing is forgotten after it."""
    rows = StoppedRows(shares=shares)
    history.texts.clear()
    previous = tracing.recorder.divert(rows.worker)
    try:
        with tracing.store.unset():
            yield rows
    finally:
        tracing.recorder.divert(previous)
        history.texts.clear()
