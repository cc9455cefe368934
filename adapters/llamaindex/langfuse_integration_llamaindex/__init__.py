"""LlamaIndex agents, workflows and queries, recorded under the right user session.

    from llama_index.core import Settings
    from llama_index.core.callbacks import CallbackManager
    from langfuse_integration_llamaindex import SessionHandler

    Settings.callback_manager = CallbackManager([SessionHandler()])
"""

from importlib.util import find_spec

from langfuse_integration.errors import MissingExtra

if find_spec("llama_index") is None or find_spec("llama_index.core") is None:
    raise MissingExtra("llama-index-core", "llamaindex")

from .handler import SessionHandler, instrument, uninstrument  # noqa: E402  the framework is looked for first

__all__ = ["SessionHandler", "instrument", "uninstrument"]
