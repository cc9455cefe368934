"""Session: an immutable, validated value."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langfuse_integration import LangfuseIntegrationError, Session
from langfuse_integration.sessions.session import usable


def test_ids_are_stripped() -> None:
    """Blanks around an id are no part of it."""
    assert Session("  s-1\n", " u ") == Session("s-1", "u")


@pytest.mark.parametrize("bad", ["", "   ", "x" * 201, "a\nb", "a\x00b", "\ud800"])
def test_an_id_that_langfuse_cannot_group_by_is_refused(bad: str) -> None:
    """Blank, too long and unprintable ids raise a ValueError that says what is allowed."""
    for make in (lambda: Session(bad), lambda: Session("s", bad), lambda: Session("s", tags=[bad])):
        with pytest.raises(ValueError, match="Allowed: 1 to 200 printable characters") as caught:
            make()
        assert isinstance(caught.value, LangfuseIntegrationError)


@pytest.mark.parametrize("bad", [5, b"s", ["s"], 1.5, object()])
def test_an_id_that_is_no_text_is_refused(bad: object) -> None:
    """Another type raises a TypeError that names it."""
    with pytest.raises(TypeError, match=f"must be a str, not {type(bad).__name__}"):
        Session(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="user_id"):
        Session("s", bad)  # type: ignore[arg-type]


def test_tags_are_a_list_and_not_one_text() -> None:
    """A bare text would become a tag per letter: it is refused."""
    with pytest.raises(TypeError, match="tags must be a list of str"):
        Session("s", tags="vip")
    assert Session("s", tags=["vip", "beta"]).tags == ("vip", "beta")


def test_metadata_is_a_mapping_with_text_keys() -> None:
    """Anything else is refused."""
    with pytest.raises(TypeError, match="metadata must be a mapping"):
        Session("s", metadata=["a"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="metadata key"):
        Session("s", metadata={1: "a"})  # type: ignore[dict-item]


def test_a_session_cannot_be_changed() -> None:
    """A session cannot be changed by assignment, by deletion, or through the metadata that it was made from."""
    metadata = {"plan": "free"}
    session = Session("s", "u", metadata=metadata)
    metadata["plan"] = "paid"
    assert session.metadata == {"plan": "free"}
    with pytest.raises(AttributeError):
        session.user_id = "v"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del session.user_id
    with pytest.raises(TypeError):
        session.metadata["plan"] = "paid"  # type: ignore[index]


def test_it_survives_pickling() -> None:
    """A session can be sent to another process."""
    session = Session("s", "u", tags=["a"], metadata={"k": 1}, trace_name="t", version="v", environment="eu")
    assert pickle.loads(pickle.dumps(session)) == session
    assert Session.from_values({**json.loads(json.dumps(session.to_values())), "of a later release": 1}) == session


def test_a_session_over_another_keeps_its_own() -> None:
    """What it leaves open is taken over, tags and metadata are put together; of another session nothing is."""
    lower = Session("s", "u", tags=["a"], metadata={"k": 1, "l": 1}, trace_name="t", environment="eu")
    upper = Session(None, "v", tags=["b"], metadata={"k": 2}, version="2")
    merged = upper.over(lower)
    assert merged == Session(
        "s", "v", tags=["a", "b"], metadata={"k": 2, "l": 1}, trace_name="t", version="2", environment="eu"
    )
    assert upper.over(lower) is merged
    assert upper.over(merged) is merged
    assert Session("other").over(lower) == Session("other")
    assert upper.over(None) is upper


@pytest.mark.parametrize(
    ("values", "kept", "named"),
    [
        ({"user_id": 42}, Session("s"), "user_id must be a str, not int"),
        ({"user_id": ""}, Session("s"), "user_id '' is blank"),
        ({"user_id": "u", "tags": "prod"}, Session("s", "u"), "tags must be a list of str, not str"),
        ({"tags": ["ok", 3]}, Session("s", tags=["ok"]), "tag must be a str, not int"),
        ({"tags": ["x" * 201, "ok"]}, Session("s", tags=["ok"]), "has 201 characters"),
        ({"metadata": {"k": 1, 2: 3}}, Session("s", metadata={"k": 1}), "a metadata key must be a str, not int"),
        ({"metadata": [1]}, Session("s"), "metadata must be a mapping"),
        ({"environment": "EU"}, Session("s"), "environment 'EU' is no environment of Langfuse"),
        ({"trace_name": "a\nb"}, Session("s"), "trace_name 'a\\nb' has characters that cannot be printed"),
        ({"user_id": None, "tags": None}, Session("s"), ""),
    ],
)
def test_one_unusable_value_is_left_out_alone(
    values: dict[str, Any], kept: Session, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The session stays, and one warning names the value and where it came from."""
    for _ in range(2):
        assert usable("a test", {"session_id": "s", **values}) == kept
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (1 if named else 0)
    assert all("A value in a test is left out: " in message and named in message for message in messages)


def test_where_nothing_is_usable_there_is_no_session() -> None:
    """None instead of a session without anything."""
    assert usable("a test", {"session_id": 7, "tags": []}) is None
    assert usable("a test", {}) is None


@pytest.mark.parametrize("attributes", [{"trace_name": ""}, {"version": "x" * 201}, {"environment": "langfuse-x"}])
def test_an_attribute_that_langfuse_would_drop_is_refused(attributes: dict[str, Any]) -> None:
    """Where the application states it, it raises with what is allowed; an unknown name is refused, too."""
    with pytest.raises(ValueError, match="Allowed: 1 to"):
        Session("s", **attributes)
    with pytest.raises(TypeError, match="has no colour"):
        Session("s", colour="red")  # type: ignore[call-arg]


@given(st.text(max_size=300))
def test_any_text_is_either_kept_as_it_reads_or_refused(text: str) -> None:
    """There is no third way: an id is the stripped text, or a ValueError."""
    wanted = text.strip()
    try:
        session = Session(text)
    except ValueError:
        assert not wanted or len(wanted) > 200 or not wanted.isprintable()
    else:
        assert session.session_id == wanted
