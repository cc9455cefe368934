"""`demo`: what a newcomer runs first."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commands import COMMAND, Lfi, assert_safe, normalised
from peers.models import ModelRequest, ModelServer, Reply, Usage, call, say
from peers.otlp import Receiver
from peers.spans import Node

pytestmark = [pytest.mark.langchain, pytest.mark.mcp]

ROOT = Path(__file__).parents[2]
MODELS = {"ada": "ScriptedModel", "bob": "ScriptedLLM"}
"""The model's class: LangChain's for one user, LlamaIndex's for the other."""
OPENING = """\
Two users talk at the same time, ada to an agent of LangChain, bob to one of
LlamaIndex. Both call the tools of llama-mcp, an MCP server of its own over
stdio. No step is traced by hand:
  examples/demo_agent/agent.py

"""
ADA = """\
demo-ada-RUN
user ada, 2 traces, 12 observations
DAY TIME to TIME (TIME)
2,651 tokens in, 137 out, no errors

── 1 ─ CLOCK ────────────────────────────────  TIME    678 in    62 out
ada           Would a llama guard my sheep against dogs?
librarian     A single gelded llama, put among sheep or goats, takes them for
              its herd within a week or two. Ranchers who took on a guard llama
              have reported that they lost far fewer lambs.

agent    librarian  TIME
├─ think 1  scripted-librarian  TIME     37 in    11 out
│  calls    search(query="llama guard sheep against dog")
├─ act 1    MCP llama-mcp.search  TIME
│  in       query="llama guard sheep against dog"
│  out      Guard llamas (score 0.31) A single gelded llama, put among sheep or…
├─ think 2  scripted-librarian  TIME    231 in     7 out
│  calls    read(title="Guard llamas")
├─ act 2    MCP llama-mcp.read  TIME
│  in       title="Guard llamas"
│  out      # Guard llamas A single gelded llama, put among sheep or goats, tak…
└─ think 3  scripted-librarian  TIME    410 in    44 out
   says     A single gelded llama, put among sheep or goats, takes them for its…
"""
NEXT = """\
Where to look next
  in full         lfi show demo-ada-RUN --full
  all sessions    lfi sessions
  in a browser    lfi view
"""


def shown(text: str) -> str:
    """Return the demo's output without times and the random part of its sessions' ids."""
    return re.sub(r"demo-(ada|bob)-[0-9a-f]{6}", r"demo-\1-RUN", normalised(text))


def agent(user: str) -> list[tuple[int, str]]:
    """Return each of a user's traces, by depth and name: an agent run of three thinks and two acts."""
    think = (1, f"generation {MODELS[user]}")
    return [(0, "agent librarian"), think, (1, "tool llama-mcp.search"), think, (1, "tool llama-mcp.read"), think]


def outline(trace: dict[str, Any]) -> list[tuple[int, str]]:
    """Return a trace of `show --json` the same way."""
    return [(each["depth"], f"{each['type']} {each['name']}") for each in trace["observations"]]


class Run(NamedTuple):
    """What the demo wrote, and the journal that it left."""

    text: str
    journal: Path

    def json(self, *arguments: str) -> Any:
        """Return what another command says of that journal."""
        return json.loads(Lfi().ok(*arguments, "--json", LANGFUSE_INTEGRATION_JOURNAL=str(self.journal)))


def run(folder: Path, **environment: str) -> Run:
    """Run the demo as in a new shell in the checkout."""
    journal = folder / "journal.sqlite3"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LANGFUSE_")]:
            patch.delenv(name)
        patch.chdir(ROOT)
        return Run(Lfi().ok("demo", LANGFUSE_INTEGRATION_JOURNAL=str(journal), **environment), journal)


@pytest.fixture(scope="module")
def shown_once(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without an account: it takes seconds, so that several tests look at the same one."""
    return run(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def shown_offline(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with keys for a Langfuse that is gone, in a shell that would not find the command."""
    keys = {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "http://127.0.0.1:9"}
    return run(tmp_path_factory.mktemp("demo"), PATH=os.defpath, **keys)


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command where the paths that it names are short."""
    monkeypatch.chdir(ROOT)


def test_the_demo_reads_as_two_conversations(shown_once: Run) -> None:
    """The text: what it is, the talk as it happens, each session replayed, and where to look next, in 80 columns."""
    assert_safe(shown_once.text)
    found = shown(shown_once.text)
    assert found.startswith(OPENING)
    assert "  ada: Would a llama guard my sheep against dogs?\n" in found
    assert "  bob: What should I record of each step of an agent?\n" in found
    assert f"\n\n{ADA}" in found
    assert "\n\ndemo-bob-RUN\nuser bob, 2 traces, 12 observations\n" in found
    assert f"\n\n{NEXT}" in found


def test_both_users_are_served_at_once(shown_once: Run) -> None:
    """The second user asks before the first has an answer, and their times overlap in the journal."""
    assert shown_once.text.index("  bob: What should") < shown_once.text.index("  agent, to ada:")
    first, second = shown_once.json("sessions")
    assert first["started"] < second["ended"]
    assert second["started"] < first["ended"]


def test_each_session_holds_its_users_steps_and_nothing_else(shown_once: Run) -> None:
    """Two traces a session, each one agent run: three thinks, two acts over MCP, tied together; nothing untagged."""
    sessions = shown_once.json("sessions")
    assert sorted((found["users"], found["traces"], found["errors"]) for found in sessions) == [
        (["ada"], 2, 0),
        (["bob"], 2, 0),
    ]
    for found in sessions:
        whole = shown_once.json("show", found["session_id"])
        assert [outline(trace) for trace in whole["traces"]] == [agent(found["users"][0])] * 2
        for trace in whole["traces"]:
            observations = trace["observations"]
            assert {(each["session_id"], each["user_id"]) for each in observations} == {
                (found["session_id"], found["users"][0])
            }
            thinks = [each for each in observations if each["metadata"].get("step_type") == "think"]
            acts = [each for each in observations if each["metadata"].get("step_type") == "act"]
            assert [each["metadata"]["step_index"] for each in thinks] == [1, 2, 3]
            assert [each["metadata"]["think_id"] for each in acts] == [thinks[0]["id"], thinks[1]["id"]]
            assert {each["metadata"]["mcp_server"] for each in acts} == {"llama-mcp"}
    assert shown_once.json("show", "--no-session")["traces"] == []


def test_the_agents_code_traces_nothing_by_hand() -> None:
    """No call of the tracing API in the application, only the session that each user is in."""
    code = "".join(path.read_text() for path in sorted((ROOT / "examples" / "demo_agent").glob("*.py")))
    assert re.findall(r"langfuse_manager\.(\w+)", code) == ["flush", "set_session"]
    assert "trace_" not in code


@pytest.mark.slow
def test_with_keys_it_is_in_langfuse(lfi: Lfi, receiver: Receiver) -> None:
    """With keys the demo delivers every row of both frameworks once."""
    text = lfi.ok("demo", **receiver.environment())
    turns = [
        ("librarian", (think,), ("llama-mcp.search",), (think,), ("llama-mcp.read",), (think,))
        for think in MODELS.values()
    ]
    assert_delivered(text, receiver, turns * 2)
    assert shown(text).count("\nagent    librarian  TIME\n") == 4


def assert_delivered(text: str, receiver: Receiver, trees: Sequence[Node]) -> None:
    """Assert that Langfuse has just these traces, each row once, in the two sessions whose addresses are printed."""
    addresses = re.findall(r"^  in Langfuse     (\S+)$", text, re.MULTILINE)
    assert len(addresses) == 2
    assert {address.rpartition("/")[0] for address in addresses} == {f"{receiver.url}/project/test-project/sessions"}
    assert sorted(receiver.trees()) == sorted(trees)
    assert receiver.doubled() == {}
    assert {span.attributes["session.id"] for span in receiver.spans} == {
        address.rpartition("/")[2] for address in addresses
    }


@pytest.mark.slow
def test_without_langfuse_it_says_what_waits(shown_offline: Run) -> None:
    """With keys and a Langfuse that is gone the replay is shown all the same, and the rest waits."""
    assert "  24 observations did not reach Langfuse at http://127.0.0.1:9 yet:\n" in shown_offline.text
    assert shown(shown_offline.text).count("\nagent    librarian  TIME\n") == 4


def test_a_real_client_takes_the_place_of_the_scripted_model(
    lfi: Lfi, model_server: ModelServer, receiver: Receiver
) -> None:
    """--model talks to a provider's own client: its model, tokens and tool calls are in the replay and in Langfuse."""

    def reply(request: ModelRequest) -> Reply:
        last = request.body["messages"][-1]
        usage = Usage(input_tokens=100, output_tokens=7, cached_tokens=40)
        if last["role"] == "user":
            return call("search", {"query": last["content"]}, "call_1", usage=usage)
        return say("Hay.\x1b[2J", usage=usage)

    model_server.unscripted = reply
    provider = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": model_server.openai_url}
    text = lfi.ok("demo", "--model", "openai:gpt-5", **provider, **receiver.environment())
    assert_delivered(text, receiver, [("librarian", ("ChatOpenAI",), ("llama-mcp.search",), ("ChatOpenAI",))] * 4)
    assert_safe(re.sub(r"^  in Langfuse .*$", "", text, flags=re.MULTILINE))
    assert r"  agent, to ada: Hay.\x1b[2J" in text
    found = shown(text)
    assert found.count("├─ think 1  gpt-5  TIME    100 in     7 out  ~$0.0002\n") == 4
    assert found.count('│  calls    search(query="') == 4
    assert len(model_server.requests) == 8
    assert model_server.requests[0].tools == ["search", "read"]


def test_a_model_that_cannot_be_had_is_a_sentence(lfi: Lfi) -> None:
    """An unknown provider: exit code 1, what LangChain says, no traceback."""
    done = lfi("demo", "--model", "nobody:nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("The model nobody:nothing is not available: ")
    assert "Traceback" not in done.stderr


def test_switched_off_there_is_nothing_to_see(lfi: Lfi) -> None:
    """LANGFUSE_TRACING_ENABLED=false: exit code 1 and the variable's name."""
    done = lfi("demo", LANGFUSE_TRACING_ENABLED="false")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Tracing is switched off by LANGFUSE_TRACING_ENABLED: unset it to see the demo.\n"


@pytest.mark.slow
def test_without_a_journal_it_takes_one_for_the_moment(lfi: Lfi, journal: Path, tmp_path: Path) -> None:
    """LANGFUSE_INTEGRATION_JOURNAL=off: the replay is shown, nothing is left behind or pointed to."""
    text = lfi.ok("demo", LANGFUSE_INTEGRATION_JOURNAL="off", TMPDIR=str(tmp_path))
    assert shown(text).count("\nagent    librarian  TIME\n") == 4
    assert "lfi show" not in text
    assert not journal.exists()
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(lfi: Lfi) -> None:
    """Without LangChain: exit code 1, and the command that installs what is needed."""
    code = (
        "import sys\nsys.modules['langchain'] = None\n"
        "from langfuse_integration.cli import main\nsys.argv = ['lfi', 'demo']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=lfi.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "The demo needs langchain: pip install 'langfuse-integration[demo]'.\n"


@pytest.mark.slow
def test_commands_are_named_as_they_can_be_typed(shown_offline: Run) -> None:
    """Where the shell would not find the command, the demo names its place."""
    command = Path(COMMAND[0])
    shortest = command.relative_to(ROOT) if command.is_relative_to(ROOT) else command
    assert f"  all sessions    {shortest} sessions\n" in shown_offline.text
