"""Exact forms of what tools and retrievers return or raise, from which a replay answers in their place.

{"form": "langchain.tool" or "langchain.retriever", "result": form}    see `object_form`
{"form": ..., "error": form}
{"form": "langchain.tool", "interrupt": form}                          the value that an interrupted tool asks with
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import ToolMessage

from langfuse_integration.encoding import object_form
from langfuse_integration.encoding.error_form import error_form
from langfuse_integration.recording.exact_result import ExactResult
from langfuse_integration.recording.noted import as_it_was, note_of
from langfuse_integration.recording.registry import Run

from . import private

TOOL, RETRIEVER = "langchain.tool", "langchain.retriever"


# -- writing, on the application's thread


def returned(run: Run, result: Any) -> None:
    """Note what a tool or retriever returned."""
    ExactResult(_form_name(run), None, _form, note_of(result)).keep(run.observation, run.state.name)


def raised(run: Run, error: BaseException) -> None:
    """Note the error that a tool or retriever raised, or the value that it asks a person with."""
    if private.flow_of(type(error)) == private.INTERRUPTED:
        value = private.interrupt_value(error)
        kept = ExactResult(TOOL, {"interrupt": object_form.form_of(value)})
    elif isinstance(error, Exception) and private.flow_of(type(error)) is None:
        kept = ExactResult(_form_name(run), {"error": error_form(error)})
    else:
        return
    kept.keep(run.observation, run.state.name)


def _form(noted: Any) -> Any:
    if type(noted) is list:
        return [object_form.form_of(as_it_was(item)) for item in noted]
    return object_form.form_of(as_it_was(noted))


def _form_name(run: Run) -> str:
    return RETRIEVER if run.state.type == "retriever" else TOOL


# -- reading


def tool_result(form: Mapping[str, Any], call_id: str | None, *, has_artifact: bool) -> Any:
    """Return what the code of a tool returns for a recorded result.

    Args:
        call_id: of the call that is answered; None where the tool is not called by a model.
        has_artifact: the tool returns content and artifact as a pair.
    """
    result = form["replaced"] if "replaced" in form else object_form.rebuilt(form.get("result"))
    artifact = None
    if isinstance(result, ToolMessage):
        artifact = result.artifact
        result = result.content if call_id is None else result.model_copy(update={"tool_call_id": call_id, "id": None})
    return (result, artifact) if has_artifact else result


def interrupt_of(form: Mapping[str, Any]) -> Any:
    """Return the value that an interrupted tool asks with."""
    return object_form.rebuilt(form["interrupt"])


def documents(form: Mapping[str, Any]) -> list[Any]:
    """Return the documents of a recorded retrieval; another answer is a list of texts or of a document's fields."""
    if "replaced" not in form:
        rebuilt: list[Any] = object_form.rebuilt(form.get("result"))
        return rebuilt
    other = form["replaced"]
    return [
        Document(page_content=each) if isinstance(each, str) else Document(**each)
        for each in (other if isinstance(other, list) else [other])
    ]
