"""`python examples/demo_agent`: the conversations of the demo; `langfuse-integration demo` replays them, too."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid

from agent import main
from langchain_core.language_models import BaseChatModel

from langfuse_integration import langfuse_manager

FLUSH_S = 10.0


def chosen(name: str | None) -> BaseChatModel | None:
    """Return a provider's model by `provider:name`, or None for those that need no key."""
    if name is None:
        return None
    from langchain.chat_models import init_chat_model

    try:
        return init_chat_model(name)
    except Exception as error:  # noqa: BLE001  an unknown name, a missing package, a missing key: each says which
        sys.exit(f"The model {name} is not available: {error}")


parser = argparse.ArgumentParser(prog="demo_agent", description="Two users talk to two agents at the same time.")
parser.add_argument("--model", metavar="PROVIDER:NAME", help="a real model, as in LangChain's init_chat_model")
parser.add_argument("--run", metavar="NAME", default=uuid.uuid4().hex[:6], help="ends the ids of the sessions")
options = parser.parse_args()
asyncio.run(main(chosen(options.model), options.run))
langfuse_manager.flush(FLUSH_S)
