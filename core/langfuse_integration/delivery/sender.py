"""The sender: claimed rows from the journal to Langfuse, over OTLP/HTTP."""

from __future__ import annotations

import base64
import gzip
import random
import threading
import time
from typing import Any

from ..settings import Settings
from ..shield import shielded, warn_once
from .journal import Claimed, Journal

BATCH_ROWS = 256
BATCH_BYTES = 3 * 1024 * 1024
BACK_OFF_S = (0.5, 30.0)
_SENDING = shielded("sending to Langfuse")


class Sender:
    """One thread that delivers, with its own connection."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._url = f"{settings.base_url}/api/public/otel/v1/traces"
        secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
        token = base64.b64encode(f"{settings.public_key}:{secret}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "x-langfuse-sdk-name": "python",
            "x-langfuse-public-key": settings.public_key or "",
            "x-langfuse-ingestion-version": "4",
        }
        self._timeout_s = settings.timeout_s
        self._keep = settings.keep_delivered
        self._journal = journal
        self._wake = threading.Event()
        self._stopped = False
        self._failures = 0
        self._client: Any = None
        self.set_aside = 0
        self._thread = threading.Thread(target=self._run, name="langfuse-integration-sender", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    def flush(self, deadline: float) -> None:
        """Wait until nothing is pending, or *deadline* has come."""
        self._wake.set()
        while self._journal.pending() and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """End the thread; what is pending stays in the journal."""
        self._stopped = True
        self._wake.set()
        self._thread.join(0.5)

    def _run(self) -> None:
        import httpx

        self._client = httpx.Client(timeout=self._timeout_s)
        while not self._stopped:
            with _SENDING:
                self._deliver()
            self._wake.wait(self._pause_s() if self._failures else None)
            self._wake.clear()

    def _deliver(self) -> None:
        while not self._stopped:
            batch = self._journal.claim(BATCH_ROWS)
            if not batch or not self._send(batch):
                return

    def _send(self, batch: list[Claimed]) -> bool:
        body = gzip.compress(b"".join(row.body for row in batch), 1)
        try:
            answer = self._client.post(self._url, content=body, headers=self._headers)
        except Exception as error:
            self._failed(batch, f"{type(error).__name__}: {error}")
            return False
        if answer.status_code < 300:
            self._journal.acknowledge([row.id for row in batch], self._keep)
            self._failures = 0
            return True
        if answer.status_code in (400, 413) and len(batch) > 1:
            half = len(batch) // 2
            return self._send(batch[:half]) and self._send(batch[half:])
        if answer.status_code in (400, 413):
            self._journal.set_aside(batch[0].id, f"HTTP {answer.status_code}")
            self.set_aside += 1
            return True
        self._failed(batch, f"HTTP {answer.status_code}")
        return False

    def _failed(self, batch: list[Claimed], reason: str) -> None:
        self._failures += 1
        self._journal.release(row.id for row in batch)
        warn_once("sender", "Langfuse at %s does not take observations (%s): they wait in the journal", self._url, reason)

    def _pause_s(self) -> float:
        least, most = BACK_OFF_S
        return float(min(most, least * 2 ** min(self._failures - 1, 10)) * random.uniform(0.5, 1.0))  # noqa: S311
