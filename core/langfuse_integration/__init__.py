"""Langfuse sessions for agents: whatever an agent does arrives under the right user's session, with no manual call.

from langfuse_integration import langfuse_manager

langfuse_manager.set_session("session-123", user_id="user-456")
with langfuse_manager.trace_span("user_query"):
    ...
"""

from .errors import LangfuseIntegrationError
from .manager import LangfuseManager, configure, langfuse_manager
from .observation import Observation
from .recorder import FlushResult
from .session import Session

__all__ = [
    "FlushResult",
    "LangfuseIntegrationError",
    "LangfuseManager",
    "Observation",
    "Session",
    "configure",
    "langfuse_manager",
]
