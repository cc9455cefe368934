"""Session: an immutable, validated value."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langfuse_integration import LangfuseIntegrationError, Session


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
    """Neither by assignment, nor by deletion, nor through the metadata that it was made from."""
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
    session = Session("s", "u", tags=["a"], metadata={"k": 1})
    assert pickle.loads(pickle.dumps(session)) == session


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
