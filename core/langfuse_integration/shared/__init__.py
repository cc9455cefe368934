"""What outlives a request and every worker must know: whose a conversation is, and where an interrupted trace goes on.

    conversations.remember(thread_id, session)        # never waits
    conversations.recall(thread_id)                   # what any worker remembered last, or None

In one process memory does; with LANGFUSE_INTEGRATION_STORE=redis://... all workers share one Redis. Nothing here is
asked while something is recorded: a request asks when it begins, and a run when it resumes another.
"""

from .books import Book, SharedTrace, active_shelf, conversations, is_shared, traces
from .shelf import Shelf

__all__ = ["Book", "SharedTrace", "Shelf", "active_shelf", "conversations", "is_shared", "traces"]
