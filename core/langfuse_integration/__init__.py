"""Langfuse sessions for agents: whatever an agent does arrives under the right user's session, with no manual call.

from langfuse_integration import langfuse_manager

langfuse_manager.set_session("session-123", user_id="user-456")
with langfuse_manager.trace_span("user_query"):
    ...
"""

from typing import TYPE_CHECKING, Any

from .destinations import OtlpDestination
from .errors import LangfuseIntegrationError
from .manager import LangfuseManager, configure, langfuse_manager
from .recording.observation import Observation
from .recording.recorder import FlushResult
from .sessions.session import Session

if TYPE_CHECKING:
    from .notebook import show_session

__all__ = [
    "FlushResult",
    "LangfuseIntegrationError",
    "LangfuseManager",
    "Observation",
    "OtlpDestination",
    "Session",
    "configure",
    "langfuse_manager",
    "show_session",
]


def __getattr__(name: str) -> Any:
    """Load what only a notebook needs when it is asked for."""
    if name == "show_session":
        from .notebook import show_session

        return show_session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
