"""`init`: applications that others might write, traced by the lines that it prints."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from commands import Lfi
from fresh import run_fresh
from langfuse_integration.onboarding import ProjectUnreadable, advise, read_project, write

SCRIPT = '''
"""Asks a model."""

from langchain_core.language_models import FakeListChatModel


def main() -> None:
    print(FakeListChatModel(responses=["Hay."]).invoke("What do llamas eat?").content)


if __name__ == "__main__":
    main()
'''


def project(folder: Path, **files: str) -> Path:
    """Write files, by their names without `.py` and with `__` between folders."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return folder


def added(folder: Path) -> dict[str, list[str]]:
    """The lines that are advised, by file."""
    lines: dict[str, list[str]] = {}
    for change in advise(read_project(folder)).changes:
        lines.setdefault(str(change.path), []).extend(change.code)
    return lines


def test_a_script_is_traced_in_a_session_by_the_lines_that_are_written(tmp_path: Path) -> None:
    """After `--write` the script prints what it printed before, and its run has a session. Again adds nothing."""
    folder = project(tmp_path, script=SCRIPT)
    first = json.loads(Lfi().ok("init", str(folder), "--write", "--json"))
    assert (first["found"], first["written"], first["remarks"]) == (["LangChain and LangGraph"], ["script.py"], [])
    out = run_fresh(
        """
        import runpy
        from langfuse_integration.testing import recorded_sessions

        with recorded_sessions() as sessions:
            runpy.run_path("script.py", run_name="__main__")
            session = sessions.one()
            print(session.session_id[:4], [trace.tree() for trace in session.traces])
        """,
        cwd=folder,
    )
    assert out == "Hay.\nrun- [['generation FakeListChatModel']]\n"
    text = (folder / "script.py").read_text()
    again = json.loads(Lfi().ok("init", str(folder), "--write", "--json"))
    assert (again["changes"], again["written"], (folder / "script.py").read_text()) == ([], [], text)


def test_nothing_is_changed_without_write(tmp_path: Path) -> None:
    """The lines and their places are printed, and the files stay as they are."""
    folder = project(tmp_path, script=SCRIPT)
    shown = Lfi().ok("init", str(folder))
    assert "script.py, after line 3: trace LangChain and LangGraph, set a session" in shown
    assert "    from langfuse_integration_langchain import instrument as trace_langchain" in shown
    assert "Nothing was changed" in shown
    assert (folder / "script.py").read_text() == SCRIPT.lstrip("\n")


def test_a_web_application_and_its_worker_are_both_traced(tmp_path: Path) -> None:
    """Each process that reaches the framework is instrumented where it starts; their common module is not."""
    folder = project(
        tmp_path,
        shop__agent="from langchain_core.language_models import FakeListChatModel\n",
        shop__web="from fastapi import FastAPI\nfrom .agent import FakeListChatModel\n\napp = FastAPI()\n",
        shop__worker="from celery import Celery\nfrom shop import agent\n\nqueue = Celery('shop')\n",
        shop__other="import json\n\nif __name__ == '__main__':\n    print(json.dumps({}))\n",
    )
    instrument = ["from langfuse_integration_langchain import instrument as trace_langchain", "trace_langchain()"]
    tasks = ["from langfuse_integration.hosts.celery import instrument as trace_tasks", "trace_tasks()"]
    assert added(folder) == {
        "shop/web.py": [
            instrument[0],
            "from langfuse_integration.hosts.asgi import SessionMiddleware",
            instrument[1],
            'app.add_middleware(SessionMiddleware, cookie="chat", issue="chat")',
        ],
        "shop/worker.py": [instrument[0], tasks[0], instrument[1], tasks[1]],
    }


WEB = {
    "fastapi": (
        """
        from fastapi import FastAPI
        from langchain_core.language_models import FakeListChatModel

        app = FastAPI()


        @app.get("/")
        async def ask() -> str:
            answer = await FakeListChatModel(responses=["Hay."]).ainvoke("What do llamas eat?")
            return answer.content
        """,
        "from starlette.testclient import TestClient\nclient = lambda: TestClient(web.app)",
    ),
    "flask": (
        """
        import flask
        from langchain_core.language_models import FakeListChatModel


        def create_app() -> flask.Flask:
            app = flask.Flask(__name__)

            @app.get("/")
            def ask() -> str:
                return FakeListChatModel(responses=["Hay."]).invoke("What do llamas eat?").content

            return app
        """,
        "app = web.create_app()\nclient = app.test_client",
    ),
}


@pytest.mark.parametrize("host", WEB)
def test_each_visitor_of_a_web_application_has_a_session(host: str, tmp_path: Path) -> None:
    """Two visitors who ask twice each are two sessions of two traces, with the lines that `init` wrote."""
    source, client = WEB[host]
    folder = project(tmp_path, web=source)
    write(folder, advise(read_project(folder)).changes)
    out = run_fresh(
        "import web\n"
        + client
        + textwrap.dedent(
            """
            from langfuse_integration.testing import recorded_sessions

            with recorded_sessions() as sessions:
                for visitor in (client(), client()):
                    for _ in range(2):
                        assert visitor.get("/").status_code == 200
                print([(one.session_id[:5], [trace.tree() for trace in one.traces]) for one in sessions.all])
            """
        ),
        cwd=folder,
    )
    visitor = ("chat-", [["generation FakeListChatModel"]] * 2)
    assert out == f"{[visitor, visitor]}\n"


GRAPH = """
from langgraph.graph import StateGraph
from .state import State

graph = StateGraph(State).compile()
"""


def test_a_graph_of_several_modules_is_traced_in_one_place(tmp_path: Path) -> None:
    """Without a file that starts a process, the module that no other one imports is traced; the rest is not."""
    folder = project(
        tmp_path,
        src__agent____init__="from agent.graph import graph\n",
        src__agent__graph=GRAPH,
        src__agent__state="from langchain_core.messages import AnyMessage\n\nState = dict\n",
    )
    advice = advise(read_project(folder))
    assert [str(change.path) for change in advice.changes] == ["src/agent/graph.py"]
    (hint,) = advice.hints
    assert "langfuse_manager.set_session(...)" in hint
    (folder / "langgraph.json").write_text("{}")
    (hint,) = advise(read_project(folder)).hints
    assert "LANGFUSE_INTEGRATION_THREAD_SESSIONS=1" in hint
    assert "THREAD_SESSIONS=1" in Lfi().ok("init", str(folder))


def test_a_web_application_that_names_threads_needs_no_cookie(tmp_path: Path) -> None:
    """LangGraph's thread_id is the session: the middleware keeps requests apart, and issues none of its own."""
    folder = project(
        tmp_path,
        agent="""
        from langgraph.graph import StateGraph

        builder = StateGraph(dict)
        builder.add_node("ask", lambda state: {"answer": "Hay."})
        builder.set_entry_point("ask")
        graph = builder.compile()

        if __name__ == "__main__":
            print(graph.invoke({}))
        """,
        web="""
        from fastapi import FastAPI
        from langchain_core.runnables import RunnableConfig
        import agent

        app = FastAPI()


        @app.get("/{thread}")
        def ask(thread: str) -> str:
            config = RunnableConfig(configurable={"thread_id": thread})
            return agent.graph.invoke({}, config)["answer"]
        """,
    )
    assert added(folder) == {
        "web.py": [
            "from langfuse_integration_langchain import instrument as trace_langchain",
            "from langfuse_integration.hosts.asgi import SessionMiddleware",
            "trace_langchain()",
            "app.add_middleware(SessionMiddleware)",
        ]
    }
    write(folder, advise(read_project(folder)).changes)
    out = run_fresh(
        """
        import web
        from langfuse_integration.testing import recorded_sessions
        from starlette.testclient import TestClient

        with recorded_sessions() as sessions:
            for thread in ("a", "b", "a"):
                assert TestClient(web.app).get(f"/{thread}").json() == "Hay."
            print([(one.session_id, len(one.traces)) for one in sessions.all])
        """,
        {"LANGFUSE_INTEGRATION_THREAD_SESSIONS": "1"},
        cwd=folder,
    )
    assert out == "[('a', 2), ('b', 1)]\n"


def test_an_mcp_server_continues_its_callers_traces(tmp_path: Path) -> None:
    """A server object is passed to `trace_server` in the line after it is made."""
    pytest.importorskip("mcp.server.mcpserver")
    folder = project(
        tmp_path, server="from mcp.server.mcpserver import MCPServer\n\nserver = MCPServer(\n    'barn'\n)\n"
    )
    write(folder, advise(read_project(folder)).changes)
    lines = (folder / "server.py").read_text().splitlines()
    assert lines[1] == "from langfuse_integration_mcp import trace_server"
    assert lines[-1] == "trace_server(server)"
    assert "[stderr]" not in run_fresh("import server", cwd=folder)


@pytest.mark.application
def test_each_tab_of_a_page_has_a_session(tmp_path: Path) -> None:
    """A Streamlit page that calls a model keeps one session over its reruns, and another tab has another."""
    pytest.importorskip("streamlit")
    folder = project(
        tmp_path,
        page="""
        import streamlit as st
        from langchain_core.language_models import FakeListChatModel

        if prompt := st.chat_input():
            st.text(FakeListChatModel(responses=["Hay."]).invoke(prompt).content)
        """,
    )
    write(folder, advise(read_project(folder)).changes)
    run_fresh(
        """
        from streamlit.testing.v1 import AppTest
        from langfuse_integration.testing import recorded_sessions

        with recorded_sessions() as sessions:
            for tab in (AppTest.from_file("page.py", default_timeout=60).run() for _ in range(2)):
                for prompt in ("food", "water"):
                    assert tab.chat_input[0].set_value(prompt).run().text[0].value == "Hay."
            assert [len(session.traces) for session in sessions.all] == [2, 2], sessions.all
            assert all(session.session_id for session in sessions.all)
        """,
        cwd=folder,
    )


def test_other_tracers_are_named_and_left_alone(tmp_path: Path) -> None:
    """Langfuse's handler and OpenInference are remarks with their lines; no change touches them."""
    folder = project(
        tmp_path,
        script=SCRIPT.replace(
            "\n\ndef main",
            "\nfrom langfuse.langchain import CallbackHandler"
            "\nfrom openinference.instrumentation.langchain import LangChainInstrumentor\n\ndef main",
        ),
    )
    remarks = advise(read_project(folder)).remarks
    assert [(remark.line, remark.text.partition(" records")[0]) for remark in remarks] == [
        (5, "Langfuse's CallbackHandler"),
        (6, "OpenInference for LangChain"),
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import json\n", ()),
        ("def broken(:\n", ()),
        ("\x00", ()),
        ("from llama_index.core import Settings\n", ("LlamaIndex",)),
        ("import mcp\n", ()),
    ],
)
def test_any_file_is_read(source: str, found: tuple[str, ...], tmp_path: Path) -> None:
    """A file that does not parse, or uses no framework, is no error."""
    (tmp_path / "a.py").write_text(source)
    assert advise(read_project(tmp_path)).found == found


def test_tests_and_environments_of_a_project_are_not_read(tmp_path: Path) -> None:
    """Only the application's own files count."""
    for folder in (".hidden", "tests", "node_modules/x", "inner"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("import langchain\n")
    (tmp_path / "inner/pyvenv.cfg").touch()
    (tmp_path / "test_a.py").write_text("import langchain\n")
    assert read_project(tmp_path).files == ()


def test_line_ends_and_modes_are_kept(tmp_path: Path) -> None:
    """A file with Windows' line ends, without a last one, and with the mode of a program stays that."""
    path = tmp_path / "a.py"
    path.write_bytes(b"#!/usr/bin/env python\r\nimport langchain\r\n\r\nif __name__ == '__main__':\r\n    pass")
    path.chmod(0o755)
    write(tmp_path, advise(read_project(tmp_path)).changes)
    text = path.read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n") == len(text.splitlines())
    assert path.stat().st_mode & 0o777 == 0o755
    compile(text, "a.py", "exec")


@pytest.mark.parametrize("options", [("--json",), ()])
def test_a_folder_that_is_none_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    """The command ends with exit code 1 and says which folder."""
    done = Lfi()("init", str(tmp_path / "absent"), *options)
    assert done.returncode == 1
    assert "absent is no folder" in done.stderr
    with pytest.raises(ProjectUnreadable):
        read_project(tmp_path / "absent")
