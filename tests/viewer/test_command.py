"""`view`: serve the pages on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from commands import Lfi
from peers.waiting import until
from viewer.sample import record
from web import get


def test_it_serves_until_it_is_interrupted(journal: Path) -> None:
    """The first line is the address of the session that was asked for; Ctrl-C ends it, also while a page listens."""
    record(journal)
    viewer = Lfi().started("view", "chat-3", "--port", "0", "--no-browser")
    try:
        assert viewer.stdout is not None
        address = viewer.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/sessions/chat-3f2a91bc")
        assert "Would a llama guard" in get(address).text
        with httpx.stream("GET", address.replace("/sessions/chat-3f2a91bc", "/events")) as stream:
            assert next(stream.iter_lines()) == "retry: 2000"
            viewer.send_signal(signal.SIGINT)
            assert viewer.wait(60) == 130
    finally:
        viewer.kill()
        _, said = viewer.communicate()
    assert said == "Ctrl-C ends it.\n"


def test_it_opens_a_browser_unless_told(journal: Path, tmp_path: Path) -> None:
    """The browser that the system names is given the address."""
    record(journal)
    told = tmp_path / "told"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {told}.new && mv {told}.new {told}\n')
    browser.chmod(0o755)
    environment = {**Lfi.environment(), "BROWSER": str(browser)}
    command = [str(Path(sys.executable).with_name("lfi")), "view", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as viewer:
        try:
            assert viewer.stdout is not None
            address = viewer.stdout.readline().strip()
            get(address)
            until(told.exists, what="the browser")
            assert told.read_text().strip() == address
        finally:
            viewer.send_signal(signal.SIGINT)
            viewer.communicate(timeout=120)


def test_only_this_machine_can_reach_it(journal: Path) -> None:
    """The viewer listens on the loopback address alone."""
    viewer = Lfi().started("view", "--port", "0", "--no-browser")
    try:
        assert viewer.stdout is not None
        port = int(viewer.stdout.readline().rsplit(":", 1)[1].split("/")[0])
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if " 0A " in line]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    finally:
        viewer.kill()
        viewer.communicate()


def test_a_port_that_is_taken_is_a_sentence(journal: Path) -> None:
    """Exit code 1, and how to choose another one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = Lfi()("view", "--no-browser", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.endswith("cannot be used (Address already in use): choose another one with --port.\n")


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("starlette", ["view", "--no-browser"]),
        ("jinja2", ["view", "--no-browser"]),
        ("uvicorn", ["view", "--no-browser"]),
        ("jinja2", ["export", "chat-3", "--html", "x.html"]),
    ],
)
def test_without_the_extra_it_is_a_sentence(journal: Path, tmp_path: Path, missing: str, arguments: list[str]) -> None:
    """Exit code 1, and the extra's name; a file needs the templates only."""
    record(journal)
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
        "from langfuse_integration.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"{missing} is not installed: pip install 'langfuse-integration[viewer]'.\n"
