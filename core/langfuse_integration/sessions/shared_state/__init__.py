"""What outlives a request and every worker must know: whose a conversation is, and where an interrupted trace goes on.

    conversations.remember(thread_id, session)        # never waits
    conversations.recall(thread_id)                   # what any worker remembered last, or None

In one process memory does; with LANGFUSE_INTEGRATION_STORE=redis://... all workers share one Redis. Nothing here is
asked while something is recorded: a request asks when it begins, and a run when it resumes another.
"""

from .key_value import KeyValueStore
from .shared_map import SharedMap, SharedTrace, active_key_value, conversations, is_shared, traces

__all__ = ["KeyValueStore", "SharedMap", "SharedTrace", "active_key_value", "conversations", "is_shared", "traces"]
