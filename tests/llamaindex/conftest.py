"""LlamaIndex recorded for the time of a test, and no fault of ours unseen: LlamaIndex swallows what handlers raise."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from langfuse_integration.testing import RecordedSessions

pytest.importorskip("llama_index.core")

from llama_index.core import VectorStoreIndex

from langfuse_integration_llamaindex import instrument, uninstrument
from langfuse_integration_llamaindex.generations import announced
from langfuse_integration_llamaindex.places import folds
from llamaindex.alpacas import index_of_alpacas

HERE = Path(__file__).parent
LLAMA_INDEX_ITSELF = (
    # Workflows look at every attribute of an agent, those that pydantic has deprecated among them.
    "ignore::pydantic.warnings.PydanticDeprecationWarning",
    "ignore:is_running called from within a step:DeprecationWarning",
)
"""What LlamaIndex warns itself of."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests here."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.llamaindex)
            item.add_marker(pytest.mark.filterwarnings(*LLAMA_INDEX_ITSELF))


@pytest.fixture(autouse=True)
def recorded(clean_state: None, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Record LlamaIndex; fail the test when our handlers failed."""
    folds.clear()
    announced.clear()
    instrument()
    with caplog.at_level(logging.WARNING, "langfuse_integration"):
        yield
    uninstrument()
    failures = [record for record in caplog.get_records("call") if "failed while" in record.getMessage()]
    assert not failures, "\n".join(str(record.exc_info) for record in failures)


@pytest.fixture(autouse=True)
def closed_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close the event loop that LlamaIndex makes in sync code and leaves open."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def settled(sessions: RecordedSessions) -> Iterator[RecordedSessions]:
    """The recorded sessions of a test that must leave nothing open."""
    yield sessions
    assert sessions.still_open == []
    assert len(folds) == 0
    assert announced == {}


@pytest.fixture
def index(sessions: RecordedSessions) -> VectorStoreIndex:
    """Two facts about alpacas; what it took to index them is forgotten."""
    made = index_of_alpacas()
    sessions.clear()
    return made
