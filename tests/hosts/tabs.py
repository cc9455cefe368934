"""A real `streamlit run`, and browser tabs that speak its websocket protocol without a browser.

with StreamlitApp(script, {"LANGFUSE_BASE_URL": ...}) as app, app.tab() as tab:
    tab.open()                                # the first run, as on a page load
    assert tab.run(chat="hello").texts == ["you said hello"]
    assert tab.run(click="Again").texts == [...]
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hosts.server_process import ServerProcess

RUN_TIMEOUT_S = 60.0
FINISHED_EARLY_FOR_RERUN = 2


@dataclass(slots=True)
class ScriptRun:
    """What one run of the script sent to the tab.

    Attributes:
        texts: the bodies of markdown and text elements, in the order in which they came.
        errors: the messages of exceptions that the script let out.
        widgets: the ids of widgets by their label (for a chat input, its placeholder).
        fragments: the ids of the fragments that widgets stand in, by the same.
    """

    texts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    widgets: dict[str, str] = field(default_factory=dict)
    fragments: dict[str, str] = field(default_factory=dict)


class StreamlitApp(ServerProcess):
    """A Streamlit server, running one script."""

    name = "the Streamlit server"

    def __init__(self, script: Path, environment: Mapping[str, str] | None = None, *options: str) -> None:
        super().__init__()
        settings = {
            "server.port": self.port,
            "server.address": "127.0.0.1",
            "server.headless": "true",
            "server.fileWatcherType": "none",
            "browser.gatherUsageStats": "false",
            "global.developmentMode": "false",
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        command = [sys.executable, "-m", "streamlit", "run", str(script), *arguments, *options]
        self.start(command, environment or {}, script.parent)

    def tab(self, headers: Mapping[str, str] | None = None) -> Tab:
        """Return a new browser tab, connected; *headers* go with its handshake."""
        return Tab(self.port, headers)

    def answers(self) -> bool:
        """Return whether Streamlit calls itself healthy."""
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=60) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Tab:
    """One browser tab: a websocket, and the state of the widgets in it."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._port = port
        self._headers = dict(headers or {})
        self._states: dict[str, Any] = {}
        self._page = ""
        self._last = ScriptRun()
        self.session_id = ""
        self._connect()

    def open(self, page: str = "") -> ScriptRun:
        """Load a page: run the script for the first time (*page* is the name of another page of the app)."""
        return self._run(page_name=page)

    def run(
        self,
        *,
        chat: str | None = None,
        click: str | None = None,
        fill: Mapping[str, str] | None = None,
        in_fragment: bool = False,
    ) -> ScriptRun:
        """Act in the tab and return what the script's run sent; without arguments, only run the script again.

        Args:
            chat: send this by the chat input.
            click: press the button of this label.
            fill: put texts into the text inputs of these labels.
            in_fragment: run only the fragment in which the clicked button stands.
        """
        self.begin(chat=chat, click=click, fill=fill, in_fragment=in_fragment)
        return self.finish()

    def begin(
        self,
        *,
        chat: str | None = None,
        click: str | None = None,
        fill: Mapping[str, str] | None = None,
        in_fragment: bool = False,
    ) -> None:
        """Ask for the run, as `run` does, and return at once."""
        widgets = self._last.widgets
        for label, text in (fill or {}).items():
            self._states[widgets[label]] = ("string_value", text)
        triggers: dict[str, Any] = {}
        if chat is not None:
            triggers[next(iter(_chat_inputs(widgets)))] = ("chat", chat)
        if click is not None:
            triggers[widgets[click]] = ("trigger_value", True)
        fragment = self._last.fragments.get(click or "", "") if in_fragment else ""
        self._send(triggers=triggers, fragment_id=fragment)

    def finish(self) -> ScriptRun:
        """Return what the requested run sent, once it has finished; a run that reruns itself is one."""
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        run = ScriptRun()
        while True:
            message = ForwardMsg()
            message.ParseFromString(self._socket.recv(timeout=RUN_TIMEOUT_S))
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.session_id = message.new_session.initialize.session_id
                self._page = message.new_session.page_script_hash
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                _note(run, message.delta.new_element, message.delta.fragment_id)
            elif kind == "script_finished" and message.script_finished != FINISHED_EARLY_FOR_RERUN:
                kept = {**self._last.widgets, **run.widgets}, {**self._last.fragments, **run.fragments}
                self._last = ScriptRun(widgets=kept[0], fragments=kept[1])
                return run

    def reconnect(self) -> None:
        """Lose the connection and come back as the browser does: the same tab."""
        self._open.close()
        self._connect(self.session_id)

    def close(self) -> None:
        """Close the tab."""
        self._open.close()

    def _connect(self, session_id: str = "") -> None:
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        names = ["streamlit", "PLACEHOLDER_AUTH_TOKEN", session_id] if session_id else ["streamlit"]
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"ws://127.0.0.1:{self._port}/_stcore/stream",
                subprotocols=[Subprotocol(name) for name in names],
                additional_headers=self._headers,
                max_size=None,
                max_queue=None,  # pings are answered while nobody reads
                open_timeout=30,
                proxy=None,
            )
        )

    def _run(self, page_name: str = "") -> ScriptRun:
        self._send(page_name=page_name)
        return self.finish()

    def _send(self, *, triggers: Mapping[str, Any] | None = None, page_name: str = "", fragment_id: str = "") -> None:
        from streamlit.proto.BackMsg_pb2 import BackMsg

        message = BackMsg()
        state = message.rerun_script
        state.page_name = page_name
        state.fragment_id = fragment_id
        if not page_name:
            state.page_script_hash = self._page
        for widget, (kind, value) in {**self._states, **(triggers or {})}.items():
            state_of_widget = state.widget_states.widgets.add(id=widget)
            if kind == "chat" and "chat_input_value" in state_of_widget.DESCRIPTOR.fields_by_name:
                state_of_widget.chat_input_value.data = value
            elif kind == "chat":
                state_of_widget.string_trigger_value.data = value
            else:
                setattr(state_of_widget, kind, value)
        self._socket.send(message.SerializeToString())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


CHAT = "chat input: "


def _chat_inputs(widgets: Mapping[str, str]) -> list[str]:
    return [widget for label, widget in widgets.items() if label.startswith(CHAT)]


def _note(run: ScriptRun, element: Any, fragment_id: str) -> None:
    kind = element.WhichOneof("type")
    content = getattr(element, kind)
    if kind in ("markdown", "text"):
        run.texts.append(content.body)
    elif kind == "exception":
        run.errors.append(f"{content.type}: {content.message}")
    elif hasattr(content, "id") and content.id:
        label = CHAT + content.placeholder if kind == "chat_input" else content.label
        run.widgets[label] = content.id
        if fragment_id:
            run.fragments[label] = fragment_id
