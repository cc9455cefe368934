"""A session for tests that need no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from langfuse_integration import langfuse_manager
from langfuse_integration.testing import RecordedSessions


@pytest.fixture
def in_alices_session(sessions: RecordedSessions) -> Iterator[None]:
    """The test runs in alice's session, leaves no run open, and the caller's next span is a root of its own."""
    with langfuse_manager.session("s-alice", "alice"):
        yield
        with langfuse_manager.trace_span("next"):
            pass
    assert sessions.still_open == []
    assert sessions.traces[-1].tree() == ["span next"]
    assert {(row.session_id, row.user_id) for row in sessions.observations} == {("s-alice", "alice")}
