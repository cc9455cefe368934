"""Onboarding: reads a Python project, and says which lines trace it, and where they go.

    for change in advise(read_project(Path("."))).changes:
        print(change.path, change.line, change.code)

To support another framework or host, add a rule to `rules.py`.
"""

from __future__ import annotations

from .advice import Advice, Remark, advise
from .changes import Change, write
from .project import Project, ProjectUnreadable, SourceFile, read_project

__all__ = [
    "Advice",
    "Change",
    "Project",
    "ProjectUnreadable",
    "Remark",
    "SourceFile",
    "advise",
    "read_project",
    "write",
]
