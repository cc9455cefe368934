"""LlamaIndex agents, workflows and queries, recorded under the right user session.

    from llama_index.core import Settings
    from llama_index.core.callbacks import CallbackManager
    from langfuse_integration_llamaindex import SessionHandler

    Settings.callback_manager = CallbackManager([SessionHandler()])

or `instrument()` for the whole process, without a callback manager.
"""

from importlib.util import find_spec

from langfuse_integration.errors import MissingExtra

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise MissingExtra("llama-index-core", "llamaindex")

from .handler import SessionHandler, instrument, instrumented, uninstrument

__all__ = ["SessionHandler", "instrument", "instrumented", "uninstrument"]
