"""Advice for a project: the changes that trace it, what to install, and remarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .changes import Change
from .project import Project, SourceFile
from .rules import FRAMEWORKS, OBJECTS, OTHER_TRACERS, WEB_SOURCE, FrameworkRule, ObjectRule

SET_SESSION = {"set_session", "session", "extract"}
"""Calls that show that the project sets its session itself."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of the project that the user should decide about."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The result of `advise`.

    Attributes:
        found: names of the frameworks and hosts that the project uses.
        extras: extras to install that are missing in this environment.
        hints: sentences about the whole project.
    """

    found: tuple[str, ...]
    extras: tuple[str, ...]
    changes: tuple[Change, ...]
    remarks: tuple[Remark, ...]
    hints: tuple[str, ...]


def advise(project: Project) -> Advice:
    """Return what to add to *project*; nothing that it has already."""
    return _Advisor(project).advice()


class _Advisor:
    """Applies the rules to one project."""

    def __init__(self, project: Project) -> None:
        self._files = project.files
        self._has_graph_server = project.has_graph_server
        self._reach = _entry_points(project)
        self._imported = {file.path: {other.path for other in project.reach(file)[1:]} for file in project.files}
        self._frameworks = [rule for rule in FRAMEWORKS if any(file.uses(*rule.modules) for file in project.files)]
        kinds = {made.kind for file in project.files for made in file.made}
        self._objects = [rule for rule in OBJECTS if kinds & set(rule.kinds)]

    def advice(self) -> Advice:
        """Return everything that the rules say."""
        changes = [*self._framework_changes(), *self._object_changes(), *self._session_changes()]
        pages = ["Streamlit"] if any(file.uses("streamlit") for file in self._files) else []
        return Advice(
            found=(*(rule.name for rule in self._frameworks), *(rule.name for rule in self._objects), *pages),
            extras=tuple(sorted(self._missing_extras())),
            changes=tuple(_merged(changes)),
            remarks=tuple(_remarks(self._files)),
            hints=tuple(self._hints()),
        )

    def _missing_extras(self) -> set[str]:
        """Return the extras whose package cannot be imported here."""
        rules: list[FrameworkRule | ObjectRule] = [*self._frameworks, *self._objects]
        return {rule.extra for rule in rules if rule.extra and find_spec(rule.package) is None}

    def _reached(self, file: SourceFile) -> list[SourceFile]:
        return self._reach.get(file.path, [file])

    def _entry_points(self, rule: FrameworkRule) -> list[SourceFile]:
        """Return the files that start a process which uses the framework.

        Without any, the files that import it and that no other such file imports.
        """
        users = [file for file in self._files if file.uses(*rule.modules)]
        paths = {file.path for file in users}
        entries = [
            file
            for file in self._files
            if file.path in self._reach and any(reached.path in paths for reached in self._reached(file))
        ]
        imported = {path for user in users for path in self._imported[user.path]}
        return entries or [file for file in users if file.path not in imported] or users[:1]

    def _framework_changes(self) -> Iterator[Change]:
        for rule in self._frameworks:
            for file in self._entry_points(rule):
                if not any(reached.uses(rule.package) for reached in self._reached(file)):
                    code = (f"from {rule.package} import instrument as {rule.alias}", f"{rule.alias}()")
                    yield Change(file.path, file.header_end, code, f"trace {rule.name}")

    def _object_changes(self) -> Iterator[Change]:
        for rule in self._objects:
            for file in self._files:
                if file.uses(f"{rule.package}.{rule.imported}"):
                    continue
                for made in file.made:
                    if made.kind in rule.kinds:
                        line = " " * made.indent + rule.line.format(name=made.name)
                        reason = "give each visitor a session" if rule.gives_session else "continue the callers' traces"
                        if rule.gives_session and _threads(self._reached(file)):
                            line, reason = line.replace(f", {WEB_SOURCE}", ""), "keep requests apart"
                        yield Change(
                            file.path, file.header_end, (f"from {rule.package} import {rule.imported}",), reason
                        )
                        yield Change(file.path, made.line, (line,), reason)

    def _session_changes(self) -> Iterator[Change]:
        """Yield the lines that set a session, in scripts and Streamlit pages that set none."""
        for file in self._files:
            reached = self._reach.get(file.path, [])
            traced = any(other.uses(*rule.modules) for rule in self._frameworks for other in reached)
            given = any(SET_SESSION & other.called for other in reached) or _threads(reached)
            if traced and not _has_host(file) and not given:
                yield from _session_lines(file)

    def _hints(self) -> Iterator[str]:
        """Yield where sessions come from if no line of the project names them."""
        threads = _threads(self._files)
        if not self._frameworks or any(SET_SESSION & file.called for file in self._files):
            return
        if threads or self._has_graph_server:
            place = f"{threads[0].path}:{threads[0].thread_line}" if threads else "langgraph.json"
            yield (
                f"{place}: LangGraph's thread_id names the conversation. Set LANGFUSE_INTEGRATION_THREAD_SESSIONS=1 in"
                " the application's environment: it is the session then."
            )
        elif not self._reach:
            yield (
                "No file here starts a process. Call langfuse_manager.set_session(...) where a conversation begins:"
                " runs have no session otherwise."
            )


def _entry_points(project: Project) -> dict[Path, list[SourceFile]]:
    """Return what each file that starts a process reaches; modules that can be run, but serve another, are left out."""
    reach = {file.path: project.reach(file) for file in project.files if _starts_a_process(file)}
    paths = {start: {file.path for file in files} for start, files in reach.items()}

    def serves_another(file: SourceFile) -> bool:
        above = (start for start in reach if file.path in paths[start] and start not in paths[file.path])
        return not _has_host(file) and not _is_page(file) and any(above)

    return {start: files for start, files in reach.items() if not serves_another(files[0])}


def _threads(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Return the files that give LangGraph a thread."""
    return [file for file in files if file.thread_line and file.uses("langchain_core", "langchain", "langgraph")]


def _starts_a_process(file: SourceFile) -> bool:
    return _has_host(file) or bool(file.main_line) or _is_page(file)


def _has_host(file: SourceFile) -> bool:
    """Return whether the file makes an object whose requests or tasks have sessions of their own."""
    kinds = {made.kind for made in file.made}
    return any(kinds & set(rule.kinds) for rule in OBJECTS) or any(kind.startswith("celery.") for kind in kinds)


def _is_page(file: SourceFile) -> bool:
    """Return whether the file is a Streamlit script, not a module of one."""
    return file.uses("streamlit") and bool({"chat_input", "title", "set_page_config"} & file.called)


def _session_lines(file: SourceFile) -> Iterator[Change]:
    imports = ("import uuid", "from langfuse_integration import langfuse_manager")
    if _is_page(file):
        st = next((alias for alias, name in file.aliases.items() if name == "streamlit"), "streamlit")
        code = (
            *imports,
            f'if "langfuse_session" not in {st}.session_state:',
            f'    {st}.session_state.langfuse_session = f"chat-{{uuid.uuid4().hex[:8]}}"',
            f"    langfuse_manager.set_session({st}.session_state.langfuse_session)",
        )
        yield Change(file.path, file.header_end, code, "give each browser tab a session")
    elif file.main_line:
        yield Change(file.path, file.header_end, imports, "set a session")
        line = '    langfuse_manager.set_session(f"run-{uuid.uuid4().hex[:8]}")'
        yield Change(file.path, file.main_line, (line,), "set a session")


def _merged(changes: list[Change]) -> Iterator[Change]:
    """Yield one change for each line of a file: imports first, each once."""
    places: dict[tuple[Path, int], list[Change]] = {}
    for change in changes:
        places.setdefault((change.path, change.line), []).append(change)
    for (path, line), together in sorted(places.items()):
        code = list(dict.fromkeys(text for change in together for text in change.code))
        imports = [text for text in code if text.startswith("import ")]
        imports += [text for text in code if text.startswith("from ")]
        reasons = dict.fromkeys(change.reason for change in together)
        yield Change(path, line, (*imports, *(text for text in code if text not in imports)), ", ".join(reasons))


def _remarks(files: tuple[SourceFile, ...]) -> Iterator[Remark]:
    for file in files:
        for name, line in file.imports.items():
            tracer = next(
                (OTHER_TRACERS[known] for known in OTHER_TRACERS if (name + ".").startswith(known + ".")), None
            )
            if tracer is not None:
                yield Remark(file.path, line, f"{tracer} records the same steps: remove it, see docs/migrating.md")
