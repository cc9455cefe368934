"""Changes: lines to add to a project's files."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Change:
    """Lines that are added after one line of a file.

    Attributes:
        path: relative to the project.
        line: the added lines stand after this one; 0 is the beginning of the file.
        code: the added lines.
        reason: what they do.
    """

    path: Path
    line: int
    code: tuple[str, ...]
    reason: str


def write(root: Path, changes: Iterable[Change]) -> list[Path]:
    """Add the lines of *changes* to the files below *root*; return the paths of the changed files.

    Each file is replaced as a whole and keeps its mode and line ends.

    Raises:
        OSError: a file cannot be written; the files before it are changed.
    """
    by_path: dict[Path, list[Change]] = defaultdict(list)
    for change in changes:
        by_path[change.path].append(change)
    for path, file_changes in by_path.items():
        _write_file(root / path, file_changes)
    return list(by_path)


def _write_file(path: Path, changes: list[Change]) -> None:
    source = path.read_bytes().decode()
    newline = "\r\n" if "\r\n" in source else "\n"
    lines = source.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    # From the end on, so that earlier line numbers hold.
    for change in sorted(changes, key=lambda change: change.line, reverse=True):
        lines[change.line : change.line] = [line + newline for line in change.code]
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write("".join(lines).encode())
        Path(temporary).chmod(path.stat().st_mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
