"""What happens to a test whose program is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine import REQUIRE_ALL, need_program


def program(folder: Path, name: str, says: str) -> str:
    """Write a program that answers `--version`, and return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(REQUIRE_ALL, raising=False)
    return tmp_path


def test_a_program_on_the_path_is_found(folder: Path) -> None:
    """The whole path is returned, under any of the names that a program goes by."""
    path = program(folder, "google-chrome", "Chrome 150.0")
    assert need_program("chromium") == path


@pytest.mark.usefixtures("folder")
def test_without_the_program_a_test_is_skipped_with_what_to_do() -> None:
    """The reason is one line, and says how to get the program."""
    with pytest.raises(pytest.skip.Exception) as skipped:
        need_program("redis-server")
    assert str(skipped.value) == "needs redis-server: apt-get install redis-server"


@pytest.mark.usefixtures("folder")
def test_where_everything_has_to_be_there_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program fails the test when the environment says that nothing may be skipped."""
    monkeypatch.setenv(REQUIRE_ALL, "1")
    with pytest.raises(pytest.fail.Exception) as failed:
        need_program("redis-server")
    assert str(failed.value) == "needs redis-server: apt-get install redis-server"


def test_a_program_that_is_too_old_is_not_there(folder: Path) -> None:
    """A program older than required is not returned; 10 is newer than 9."""
    path = program(folder, "some-peer", "v10.2.0")
    assert need_program("some-peer", oldest=9) == path
    with pytest.raises(pytest.skip.Exception) as skipped:
        need_program("some-peer", oldest=11)
    assert str(skipped.value) == "needs some-peer 11 or newer: install some-peer"
