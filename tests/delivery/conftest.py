"""A Langfuse that the settings of the test name, and nothing left of the journal's machinery afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from langfuse_integration import configure
from peers.otlp import Receiver
from peers.waiting import until


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal's file."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def langfuse(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver, with its keys in the environment."""
    for name, value in receiver.environment().items():
        monkeypatch.setenv(name, value)
    configure()
    return receiver


@pytest.fixture(autouse=True)
def no_threads_left(clean_state: None) -> Iterator[None]:
    """Wait for the end of the delivery's threads, so that no test meets those of another."""
    yield
    configure()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("langfuse-integration")], 15)
