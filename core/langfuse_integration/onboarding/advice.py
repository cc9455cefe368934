"""Advice for a project: the changes that trace it, what to install, and remarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .changes import Change
from .project import Project, SourceFile
from .rules import FRAMEWORKS, OBJECTS, OTHER_TRACERS, FrameworkRule, ObjectRule

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
    """

    found: tuple[str, ...]
    extras: tuple[str, ...]
    changes: tuple[Change, ...]
    remarks: tuple[Remark, ...]


def advise(project: Project) -> Advice:
    """Return what to add to *project*; nothing that it has already."""
    return _Advisor(project).advice()


class _Advisor:
    """Applies the rules to one project."""

    def __init__(self, project: Project) -> None:
        self._files = project.files
        self._reach = {file.path: project.reach(file) for file in project.files if _starts_a_process(file)}
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
        )

    def _missing_extras(self) -> set[str]:
        """Return the extras whose package cannot be imported here."""
        rules: list[FrameworkRule | ObjectRule] = [*self._frameworks, *self._objects]
        return {rule.extra for rule in rules if rule.extra and find_spec(rule.package) is None}

    def _reached(self, file: SourceFile) -> list[SourceFile]:
        return self._reach.get(file.path, [file])

    def _entry_points(self, rule: FrameworkRule) -> list[SourceFile]:
        """Return the files that start a process which uses the framework; without any, the files that import it."""
        users = [file for file in self._files if file.uses(*rule.modules)]
        paths = {file.path for file in users}
        entries = [
            file
            for file in self._files
            if file.path in self._reach and any(reached.path in paths for reached in self._reached(file))
        ]
        return entries or users

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
                        yield Change(
                            file.path, file.header_end, (f"from {rule.package} import {rule.imported}",), reason
                        )
                        yield Change(file.path, made.line, (line,), reason)

    def _session_changes(self) -> Iterator[Change]:
        """Yield the lines that set a session, in scripts and Streamlit pages that set none."""
        for file in self._files:
            reached = self._reach.get(file.path, [])
            traced = any(other.uses(*rule.modules) for rule in self._frameworks for other in reached)
            if traced and not _has_host(file) and not any(SET_SESSION & other.called for other in reached):
                yield from _session_lines(file)


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
        imports = [text for text in code if text.startswith(("import ", "from "))]
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
