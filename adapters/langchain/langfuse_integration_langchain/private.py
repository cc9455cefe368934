"""Everything that the adapter uses of LangChain and LangGraph beyond their documented interfaces, with fallbacks.

Read in langchain-core 1.0 to 1.8, langchain 1.0 to 1.5, langgraph 1.0 to 1.2 and langchain-classic 1.0. Names are
compared as text, so that nothing but langchain-core is ever imported. If one of them changes, a run reads less well
(a wrapper shows, a think is not marked), but it is recorded all the same.

More than 300 lines: a new release of LangChain is checked against this one page.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any
from uuid import UUID

from langchain_core import __version__ as VERSION
from langchain_core.callbacks import manager
from langchain_core.runnables import Runnable

from langfuse_integration.errors import SeamMoved
from langfuse_integration.internals.event_loops import running_loop
from langfuse_integration.internals.loaded import loaded

try:
    from langchain_core.runnables.config import var_child_runnable_config
except ImportError:  # then spans inside of tools and nodes stand beside these, not below
    var_child_runnable_config: ContextVar[Any] = ContextVar("no_child_runnable_config", default=None)  # type: ignore[no-redef]

_child_config: ContextVar[Any] = var_child_runnable_config

AGENTS = frozenset({"langchain_create_agent", "deepagents"})
"""`ls_integration` in the metadata of agents that LangChain makes, and of everything below them."""
THINKING_NODE = "model"
TOOLS_NODE = "tools"
AGENT_NODES = frozenset({THINKING_NODE, TOOLS_NODE})
PREBUILT_NODE = "agent"
"""The node in which LangGraph's prebuilt agent decides (langgraph-prebuilt 1.0 to 1.1)."""
PREBUILT_PROMPT = "Prompt"
"""The step in that node which puts the agent's prompt before the messages; no application's own node has it."""
AGENT_CALLER = "call_agent"
"""The function with which a supervisor's node calls the agent of its name (langgraph-supervisor 0.0.31)."""
MIDDLEWARE_HOOKS = (".before_agent", ".before_model", ".after_model", ".after_agent")
INTERNAL_CALLS = frozenset({"lc_internal_call", "lc_source"})
"""Metadata of model calls that a middleware makes for itself."""
EXECUTOR = "AgentExecutor"
UNNAMED_GRAPH = "LangGraph"
UNNAMED_TOOL = "unknown"
"""What LangChain calls a tool call without a name, such as a client makes of a badly joined stream."""
SUBAGENT_ARGUMENT = "subagent_type"
"""The argument of deepagents' tool `task` that names the agent below it, which itself has no name before 0.3."""
START_NODE = "__start__"
SERVED_GRAPH = "graph_id"
"""The metadata in which LangGraph Server names the graph that it runs (langgraph-api 0.16)."""

REMOTE_GRAPH = ("langgraph.pregel.remote", "RemoteGraph")
"""Module and name of LangGraph's remote graph, which announces itself to no callback (langgraph 1.0 to 1.2)."""

NODE_TAG = "graph:step:"
NODE_KEY = "langgraph_node"
STEP_KEY = "langgraph_step"
"""The number in a node's tag: of the step of the graph in which it runs."""
TASK_KEY = "langgraph_checkpoint_ns"
"""Names the task that a node runs: the node, and an id made of the checkpoint's."""
HIDDEN_TAG = "langsmith:hidden"
"""LangGraph's mark of its own plumbing, such as `__start__`; the runs below inherit the tag."""
STEP_TAG = "seq:step:"
PLUMBING_TAGS = (NODE_TAG, STEP_TAG, "map:key:", "condition:", "branch:", "retry:attempt:", "langsmith:")
PLUMBING_METADATA = ("ls_", "lc_", "langgraph_", "langfuse_", "checkpoint_", "__")
PLACE_METADATA = frozenset({NODE_KEY, STEP_KEY})
TELLING_METADATA = frozenset({"ls_provider"})

CONTROL_FLOW = "GraphBubbleUp"
"""The base class of LangGraph's exceptions that are no errors: interrupts, commands to a parent graph."""
COMMAND = ("langgraph.types", "Command")
"""Module and name of the class; applications have classes of that name, too."""
INTERRUPTED = "interrupted"
FLOWS = {"GraphInterrupt": INTERRUPTED, "NodeInterrupt": INTERRUPTED, "ParentCommand": "handed over"}
HIDDEN_ARGUMENTS = frozenset({"ToolRuntime", "Runtime"})
"""Types that LangGraph injects into tool arguments: they hold the whole state."""


def told_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a tool without those that LangGraph has injected."""
    return {name: value for name, value in arguments.items() if type(value).__name__ not in HIDDEN_ARGUMENTS}


def current_run_key() -> int | None:
    """Return the id of the run whose code is running in this context, or None."""
    config = _child_config.get()
    if config is None:
        return None
    run_id = getattr(config.get("callbacks"), "parent_run_id", None)
    return None if run_id is None else run_id.int


def is_agent(metadata: Mapping[str, Any], node: str, inputs: Any) -> bool:
    """Return whether a graph is an agent that LangChain made, once a *node* of it has started with *inputs*.

    The first releases of langchain and langgraph 1 mark neither agents nor graphs: there the nodes tell.
    """
    made_by = metadata.get("ls_integration")
    if made_by is not None:
        return made_by in AGENTS
    sent_a_call = isinstance(inputs, dict) and "tool_call" in inputs
    return node == THINKING_NODE or node.endswith(MIDDLEWARE_HOOKS) or (node in AGENT_NODES and sent_a_call)


def position(tags: list[str] | None) -> str | None:
    """Return "node" for a node of a graph, "step" for a step of a sequence or what such a step calls, else None."""
    if tags:
        for tag in tags:
            if tag.startswith(NODE_TAG):
                return "node"
            if tag.startswith(STEP_TAG):
                return "step"
    return None


def is_entry(name: str, metadata: Mapping[str, Any]) -> bool:
    """Return whether a node is the function of an `@entrypoint`: the input itself starts it."""
    return name != START_NODE and metadata.get("langgraph_triggers") == (START_NODE,)


def flow_of(kind: type[BaseException]) -> str | None:
    """Return how a run that ends in an exception of *kind* ended, or None when it is an error."""
    names = [base.__name__ for base in kind.__mro__]
    if CONTROL_FLOW not in names:
        return None
    return next((FLOWS[name] for name in names if name in FLOWS), kind.__name__)


def interrupt_value(error: BaseException) -> Any:
    """Return the value with which an interrupt asks, or None (langgraph 1.0 to 1.2: the first of its arguments)."""
    interrupts = error.args[0] if error.args else None
    first = interrupts[0] if isinstance(interrupts, (list, tuple)) and interrupts else None
    return getattr(first, "value", None)


def interrupt_again(value: Any) -> None:
    """Ask with *value* as a tool that was interrupted; values that earlier questions were resumed with are skipped."""
    from langgraph.types import interrupt

    while True:
        interrupt(value)


def current_task() -> asyncio.Task[Any] | None:
    """Return the task in which the application runs here, or None: outside of a loop, and in a task of LangChain.

    LangChain announces each prompt of an async text model in a task that ends at once.
    """
    loop = running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    if task is None:
        return None
    code = getattr(task.get_coro(), "cr_code", None)
    return None if code is not None and code.co_filename == manager.__file__ else task


RUN_MANAGER = "run_manager"
"""The argument by which a model's code gets its callbacks, the run's id among them."""
MODEL_FRAMES = 60
"""How deep a model's client may be below that code."""


def current_model_key() -> int | None:
    """Return the id of the model run whose code is running on this stack, or None.

    LangChain keeps a run for the children of chains and tools, not of models (langchain-core 1.0 to 1.8).
    """
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(MODEL_FRAMES):
        if frame is None:
            return None
        if RUN_MANAGER in frame.f_code.co_varnames:
            run_id = getattr(frame.f_locals.get(RUN_MANAGER), "run_id", None)
            if run_id is not None:
                key: int | None = getattr(run_id, "int", None)
                return key
        frame = frame.f_back
    return None


def run_id_around() -> UUID | None:
    """Return the id of the model run on whose account this code runs, from the callbacks on the stack, or None."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(MODEL_FRAMES):
        if frame is None:
            return None
        if RUN_MANAGER in frame.f_code.co_varnames or RUN_MANAGER in frame.f_code.co_freevars:
            run_id = getattr(frame.f_locals.get(RUN_MANAGER), "run_id", None)
            if isinstance(run_id, UUID):
                return run_id
        frame = frame.f_back
    return None


def when_defined(module: str, name: str, action: Callable[[type[Any]], None]) -> None:
    """Call *action* with a subclass of `Runnable`: now if its module is loaded, else when the class is defined.

    A module that another thread loads right now may define the class meanwhile: *action* may come twice.
    """
    base: Any = Runnable
    before = vars(base).get("__init_subclass__")

    def __init_subclass__(cls: type[Any], /, **options: Any) -> None:
        if before is not None:
            before.__func__(cls, **options)
        else:
            super(base, cls).__init_subclass__(**options)
        if cls.__module__ == module and cls.__name__ == name:
            action(cls)

    if loaded(module, name) is None:
        base.__init_subclass__ = classmethod(__init_subclass__)
    kind = loaded(module, name)
    if kind is not None:
        action(kind)


CHAT_SEAMS = ("_generate_with_cache", "_agenerate_with_cache", "_stream", "_astream", "stream", "astream")
TEXT_SEAMS = ("_generate_helper", "_agenerate_helper", "_generate", "_agenerate", "_stream", "_astream")


def require_model_seams() -> None:
    """Check for the methods that a replay replaces (langchain-core 1.0 to 1.8).

    Raises:
        SeamMoved: one of them is not there.
    """
    from langchain_core.language_models import BaseChatModel, BaseLLM

    _require(BaseChatModel, CHAT_SEAMS)
    _require(BaseLLM, TEXT_SEAMS)


CALL_SEAMS = ("_call_with_config", "_acall_with_config")


def require_call_seams() -> None:
    """Check for the methods in which runnables run their code (langchain-core 1.0 to 1.8).

    Raises:
        SeamMoved: one of them is not there.
    """
    _require(Runnable, CALL_SEAMS)


TOOL_SEAMS = ("run", "arun", "_to_args_and_kwargs")
RETRIEVER_SEAMS = ("invoke", "ainvoke", "_get_relevant_documents", "_aget_relevant_documents")


def require_tool_seams() -> None:
    """Check for the methods of tools and retrievers that a replay replaces (langchain-core 1.0 to 1.8).

    Raises:
        SeamMoved: one of them is not there.
    """
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.tools import BaseTool

    _require(BaseTool, TOOL_SEAMS)
    _require(BaseRetriever, RETRIEVER_SEAMS)


def _require(kind: type, names: Iterable[str]) -> None:
    for name in names:
        if name not in vars(kind):
            raise SeamMoved("langchain-core", VERSION, f"{kind.__name__}.{name}")


def streams_events(model: Any, run_manager: Any, options: Mapping[str, Any], *, async_api: bool) -> bool:
    """Return whether a model passes its answer to a handler as events of LangChain's v3 streams (from 1.4 on)."""
    asks = getattr(model, "_should_use_protocol_streaming", None)
    return bool(asks is not None and asks(async_api=async_api, run_manager=run_manager, **options))


def streams_tokens(model: Any, run_manager: Any, options: Mapping[str, Any], *, async_api: bool) -> bool:
    """Return whether a model that is not streamed tells its handlers of single tokens; yes in an unknown release."""
    asks = getattr(model, "_should_stream", None)
    return bool(asks is None or asks(async_api=async_api, run_manager=run_manager, **options))


FRAMES = 6
"""How far above a handler the callback manager of an async text model may be; it is the third frame today."""


def missing_starts(run_id: int) -> tuple[list[Any], list[Coroutine[Any, Any, Any]]] | None:
    """Return the handlers that LangChain does not tell of an async text model, and the list of what it awaits for them.

    Where one handler runs inline, `AsyncCallbackManager.on_llm_start` calls the inline handlers only (langchain-core
    1.0 to 1.8). None if nothing is missing: in sync runs, in a release that calls all of them, for a second handler
    of the same run, or where the manager's variables have other names.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(FRAMES):
        above = frame.f_back
        if above is None:
            return None
        frame = above
        if frame.f_code.co_name == "on_llm_start" and frame.f_code.co_filename == manager.__file__:
            variables = frame.f_locals
            handlers, awaited = variables.get("non_inline_handlers"), variables.get("non_inline_tasks")
            if not handlers or not isinstance(awaited, list):
                return None
            added = [coroutine for coroutine in awaited if coroutine.__name__ == tell_start.__name__]
            if len(added) < len(awaited) or any(each.cr_frame.f_locals["key"] == run_id for each in added):
                return None
            return handlers, awaited
    return None


async def tell_start(key: int, handlers: list[Any], *arguments: Any, **options: Any) -> None:
    """Tell *handlers* that the call of a text model starts, as LangChain tells them of a sync call."""
    await manager.ahandle_event(handlers, "on_llm_start", "ignore_llm", *arguments, **options)
