"""A Python project: its source files, their imports, and the objects that they make. Nothing is imported or run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..internals.lazy import lazy

SKIPPED_FOLDERS = {"__pycache__", "build", "dist", "node_modules", "site-packages", "test", "tests", "venv", "env"}
FILES_LIMIT = 5_000
"""The most files that are read."""
FILE_BYTES = 1024 * 1024
"""Larger files are generated, and skipped."""


class ProjectUnreadable(ValueError):
    """The folder is missing, or it has more Python files than a project."""


@dataclass(frozen=True, slots=True)
class MadeObject:
    """An object that a statement makes: `app = FastAPI()`.

    Attributes:
        kind: the dotted name of what is called: `fastapi.FastAPI`.
        line: the last line of the statement.
        indent: columns before the statement.
    """

    name: str
    kind: str
    line: int
    indent: int


@dataclass(frozen=True)
class SourceFile:
    """One Python file.

    Attributes:
        path: relative to the project.
        imports: the line of each dotted name that is imported.
        aliases: the dotted name behind each imported name.
        made: objects that statements make, in their order.
        header_end: the line of the last import at the top level, or of the docstring; 0 without either.
        main_line: the line of `if __name__ == "__main__":`, or 0.
        called: names of called methods and functions.
        thread_line: the line of the first dictionary with the key `thread_id`, or 0.
    """

    path: Path
    imports: dict[str, int]
    aliases: dict[str, str]
    made: tuple[MadeObject, ...]
    header_end: int
    main_line: int
    called: frozenset[str]
    thread_line: int = 0

    def uses(self, *modules: str) -> bool:
        """Return whether the file imports one of these modules or a part of it."""
        return any(name == module or name.startswith(module + ".") for name in self.imports for module in modules)

    @property
    def module(self) -> str:
        """The dotted name of the file's module, counted from the project or its `src`."""
        parts = [part for part in self.path.with_suffix("").parts if part != "__init__"]
        return ".".join(parts[1:] if parts[:1] == ["src"] else parts)


@dataclass(frozen=True)
class Project:
    """The source files of a project, by path."""

    root: Path
    files: tuple[SourceFile, ...]

    @property
    def has_graph_server(self) -> bool:
        """Whether LangGraph's server runs the project."""
        return (self.root / "langgraph.json").is_file()

    @lazy
    def _by_module(self) -> dict[str, SourceFile]:
        return {file.module: file for file in self.files}

    def reach(self, file: SourceFile) -> list[SourceFile]:
        """Return *file* and the project's files that it imports, directly or not."""
        reached = {file.path: file}
        waiting = [file]
        while waiting:
            for imported in self._imported(waiting.pop()):
                if imported.path not in reached:
                    reached[imported.path] = imported
                    waiting.append(imported)
        return list(reached.values())

    def _imported(self, file: SourceFile) -> Iterator[SourceFile]:
        package = file.module.rpartition(".")[0]
        for name in file.imports:
            for prefix in ("", f"{package}."):  # a script imports its neighbours by their plain names
                dotted = prefix + name
                while dotted:
                    if dotted in self._by_module:
                        yield self._by_module[dotted]
                        break
                    dotted = dotted.rpartition(".")[0]


def read_project(root: Path) -> Project:
    """Return the project in a folder. Tests, virtual environments and files that do not parse are left out.

    Raises:
        ProjectUnreadable: the folder is missing, or it has more than FILES_LIMIT Python files.
    """
    if not root.is_dir():
        raise ProjectUnreadable(f"{root} is no folder")
    files: list[SourceFile] = []
    for number, path in enumerate(_python_files(root)):
        if number >= FILES_LIMIT:
            raise ProjectUnreadable(
                f"{root} has more than {FILES_LIMIT} Python files: name the folder of one application"
            )
        file = _read(path, root)
        if file is not None:
            files.append(file)
    return Project(root, tuple(files))


def _python_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in SKIPPED_FOLDERS
            and not name.startswith(".")
            and not Path(folder, name, "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("test_") and name != "conftest.py":
                yield Path(folder, name)


def _read(path: Path, root: Path) -> SourceFile | None:
    try:
        if path.stat().st_size > FILE_BYTES:
            return None
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    relative = path.relative_to(root)
    imports: dict[str, int] = {}
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        for name, alias in _imported_names(node, relative):
            imports.setdefault(name, node.lineno)  # type: ignore[attr-defined]
            aliases[alias] = name
    return SourceFile(
        path=relative,
        imports=imports,
        aliases=aliases,
        made=tuple(_made(tree, aliases)),
        header_end=_header_end(tree),
        main_line=next((node.lineno for node in tree.body if _is_main_guard(node)), 0),
        called=frozenset(
            _dotted(node.func).rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.Call)
        ),
        thread_line=min(_thread_lines(tree), default=0),
    )


def _imported_names(node: ast.AST, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (dotted name, local name) of an import; a relative one is counted from the project."""
    if isinstance(node, ast.Import):
        for name in node.names:
            yield name.name, name.asname or name.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom):
        package = list(path.parts[: len(path.parts) - node.level]) if node.level else []
        module = ".".join([*(part for part in package if part != "src"), *([node.module] if node.module else [])])
        for name in node.names:
            yield f"{module}.{name.name}" if module else name.name, name.asname or name.name


def _made(tree: ast.Module, aliases: dict[str, str]) -> Iterator[MadeObject]:
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        if len(targets) != 1 or not isinstance(targets[0], ast.Name) or not isinstance(value, ast.Call):
            continue
        first, _, rest = _dotted(value.func).partition(".")
        if first in aliases:
            kind = ".".join(filter(None, (aliases[first], rest)))
            yield MadeObject(targets[0].id, kind, node.end_lineno or 0, node.col_offset)  # type: ignore[attr-defined]


def _thread_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        for key in node.keys if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and key.value == "thread_id":
                yield key.lineno


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _header_end(tree: ast.Module) -> int:
    header = 0
    for number, node in enumerate(tree.body):
        is_docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            header = node.end_lineno or 0
    return header


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'"
