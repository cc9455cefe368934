"""A tool that asks a person. LlamaIndex reads its annotations as they are: no postponed ones in this module."""

from llama_index.core.workflow import Context, HumanResponseEvent, InputRequiredEvent


async def confirm(ctx: Context) -> str:
    """Ask whether to go on."""
    answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="sure?"))
    return str(answer.response)
