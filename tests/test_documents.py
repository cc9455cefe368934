"""README and docs: every Python block runs as it stands, and every file that they name is there."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fresh import run_fresh, without_settings
from warm import WarmInterpreter

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[tuple[str, str]]:
    """Yield (place, code) of each Python block that is marked neither `notest` nor `streamlit`."""
    for document in DOCUMENTS:
        text = document.read_text()
        for found in BLOCK.finditer(text):
            if found[1] == "python" and not {"notest", "streamlit"} & set(found[2].split()) and ".py" not in found[2]:
                yield f"{document.name}:{text[: found.start()].count(chr(10)) + 1}", found[3]


WITHOUT_KEYS = """\
import logging
logging.getLogger("langfuse_integration").addFilter(lambda said: "LANGFUSE_SECRET_KEY are not set" not in said.msg)
"""
"""Leaves out the message that there are no keys: the interpreter has loaded Langfuse's SDK, and no block has keys."""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[WarmInterpreter]:
    """What runs the blocks, each in a process of its own."""
    with WarmInterpreter() as started:
        yield started


@pytest.mark.parametrize(("place", "code"), [pytest.param(*block, id=block[0]) for block in blocks()])
def test_a_block_runs_as_it_stands(place: str, code: str, interpreter: WarmInterpreter, tmp_path: Path) -> None:
    """What a reader copies works, and says nothing on stderr; that Langfuse's SDK has no keys is not of interest."""
    output = interpreter.run(WITHOUT_KEYS + code, tmp_path, without_settings())
    assert "[stderr]" not in output, place


@pytest.mark.application
@pytest.mark.langchain
def test_a_wrong_answer_becomes_a_green_test(tmp_path: Path) -> None:
    """The files and commands of the tour through `lfi test` work in their order, and say what the document shows."""
    text = (ROOT / "docs/testing.md").read_text()
    output = ""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(tmp_path),
        "LANGFUSE_INTEGRATION_JOURNAL": str(tmp_path / "journal.sqlite3"),
    }
    for kind, name, code in BLOCK.findall(text[text.index("### From a wrong answer") :]):
        if kind == "python":
            (tmp_path / name.strip()).write_text(code)
        elif kind == "bash":
            command = ["bash", "-e", "-c", code]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
            )
            output = done.stdout
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            for line in code.splitlines():
                assert line in output, output


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda found: found.name)
def test_what_a_document_links_to_is_there(document: Path) -> None:
    """Links to files lead somewhere."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.application
def test_the_guides_page_keeps_a_tabs_session(tmp_path: Path) -> None:
    """The guide's Streamlit page answers, in one session over its reruns, with a trace for each message."""
    pytest.importorskip("streamlit")
    (page,) = (found[3] for found in BLOCK.finditer((ROOT / "docs/guide.md").read_text()) if "streamlit" in found[2])
    (tmp_path / "page.py").write_text(page)
    run_fresh(
        """
        from streamlit.testing.v1 import AppTest

        from langfuse_integration.testing import recorded_sessions

        with recorded_sessions() as sessions:
            tab = AppTest.from_file("page.py", default_timeout=60).run()
            for prompt in ("food", "and water"):
                tab.chat_input[0].set_value(prompt).run()
            assert not tab.exception, tab.exception
            session = sessions.one()
            assert session.session_id == tab.session_state.session_id
            assert session.users == ["test@example.com"], session.users  # as AppTest logs in
            assert [trace.tree() for trace in session.traces] == [[{"span chat_message": ["agent think"]}]] * 2
            shown = [message.markdown[0].value for message in tab.chat_message]
            assert shown == ["food", "Hay.", "and water", "Hay."]
        """,
        cwd=tmp_path,
    )


PACKAGES = ("", "_langchain", "_llamaindex", "_mcp")
DATA_TYPES = {"Session", "FlushResult", "LangfuseIntegrationError", "langfuse_manager", "TraceMiddleware"}
"""Exported names that stand in the reference under another name, or are returned only."""


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_has_every_exported_name(package: str) -> None:
    """Each exported function and class has a docstring, and its place in docs/reference.md."""
    module = importlib.import_module(f"langfuse_integration{package}")
    reference = (ROOT / "docs/reference.md").read_text()
    for name in set(module.__all__) - DATA_TYPES:
        assert getattr(module, name).__doc__, name
        assert f"::: {module.__name__}.{name}\n" in reference, name


def test_the_site_has_every_document() -> None:
    """mkdocs.yml lists each document of the folder; building it is strict about dead links."""
    site = (ROOT / "mkdocs.yml").read_text()
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f": {path.name}\n" not in site] == []
    assert "\nstrict: true\n" in site
