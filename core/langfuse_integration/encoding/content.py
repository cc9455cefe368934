"""Which attributes hold content, which are labels and which are measures: by their names, for rows of every origin.

The lists name what is no content. Every other text is taken for content, so that what an instrumentation adds tomorrow
is masked, and left out where content is not captured.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class ContentKind(Enum):
    """The kind of an attribute, which decides how capture and masks treat it."""

    MEASURE = "ids, types, times, tokens and cost"
    LABEL = "names, tags and versions"
    PAYLOAD = "inputs, outputs and the like"
    TEXT = "any other text"


_MEASURE = re.compile(
    r"((langfuse\.)?(session|user)|gen_ai\.conversation|gen_ai\.agent|gen_ai\.response|gen_ai\.tool\.call)\.id$"
    r"|langfuse\.(internal\..+|environment|release|experiment\.([a-z]+\.)*(id|root_observation_id))$"
    r"|langfuse\.observation\.(type|level|completion_start_time|usage_details|cost_details|model\.name|prompt\.version)$"
    r"|gen_ai\.(operation\.name|system|provider\.name|request\.model|response\.model|usage\..+)$"
    r"|openinference\.span\.kind$|llm\.(model_name|provider|system|token_count\..+)$|embedding\.model_name$"
    r"|mcp\.(method\.name|protocol\.version|session\.id)$|jsonrpc\.request\.id$"
)
_LABEL = re.compile(
    r"langfuse\.(trace\.(name|tags)|version|observation\.prompt\.name|experiment\.name)$"
    r"|gen_ai\.(tool\.(name|type)|agent\.name|response\.finish_reasons|output\.type)$"
    r"|(tool|agent|graph\.node|reranker\.model)\.name$|(error|exception)\.type$"
    r"|langfuse\.observation\.metadata\."
    r"(step_type|step_index|agent_name|tool_call_id|think_id|mcp_(server|method|tool|protocol_version|transport)"
    r"|finish_reason|langgraph_node|langgraph_step|ls_provider|cache_hit|cut)$"
)
"""Among them the metadata that this package writes itself: steps of agents, calls of servers."""
_PAYLOAD = re.compile(
    r"langfuse\.(observation|trace)\.(input|output)$"
    r"|gen_ai\.(prompt|completion|input\.messages|output\.messages|system_instructions|content"
    r"|tool\.(call\.(arguments|result)|definitions))"
    r"|(input|output)\.value$"
    r"|llm\.(input_messages|output_messages|prompts|completions|prompt_template|function_call|tools)"
    r"|tool\.(parameters|json_schema|description)"
    r"|(tool|retrieval|embedding|reranker|message|document)\..*(content|arguments|text|documents|vector|query)"
    r"|traceloop\.entity\.(input|output)|mcp\.(request|response)"
)
_FAILURE = re.compile(r"(\w*(Error|Exception|Interrupt|Exit|Timeout|Warning|Group|Refused|Failed))(?=: |$)")
OWN_MESSAGES = frozenset(
    (
        *("cancelled", "interrupted", "handed over", "tool_error", "the process ended"),
        "still open when too many runs were open",
    )
)
"""Status messages that this package writes itself."""


@lru_cache(2048)
def kind_of(key: str) -> ContentKind:
    """Return the kind of the attribute *key*."""
    if _MEASURE.match(key):
        return ContentKind.MEASURE
    if _LABEL.match(key):
        return ContentKind.LABEL
    return ContentKind.PAYLOAD if _PAYLOAD.match(key) else ContentKind.TEXT


def failure_of(message: str) -> str | None:
    """Return a status message without content: a message of this package or the error's class; else None."""
    if message in OWN_MESSAGES:
        return message
    match = _FAILURE.match(message)
    return match[1] if match else None
