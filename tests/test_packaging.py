"""What is shipped: one wheel of four packages, their bounds, and nothing of the machine that it was made on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PACKAGES = {
    "langfuse_integration": "core",
    "langfuse_integration_langchain": "adapters/langchain",
    "langfuse_integration_llamaindex": "adapters/llamaindex",
    "langfuse_integration_mcp": "adapters/mcp",
}

# Of our own making, or of a tool's: what a clone holds, whether it is committed yet or not.
NOT_OURS = {".git", ".venv", ".nox", ".hypothesis", "__pycache__", "build", "dist", "results"}


def files() -> Iterator[Path]:
    """Every file of the project: what git tracks, or, where there is no git, what lies there."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=120
        ).stdout
        found = [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return (path for path in found if path.is_file())


def name_of(requirement: str) -> str:
    """Return the distribution's name in a requirement, normalised."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def bounds(requirements: list[str], name: str) -> str:
    """Return the version bounds that one of the requirements sets for a distribution."""
    (found,) = [each for each in requirements if name_of(each) == name]
    return found.removeprefix(name)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built for real with the hatchling that is installed."""
    to = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(to)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=180)
    (built,) = to.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """The wheel's top level is the four packages and its metadata."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, f"langfuse_integration-{PROJECT['version']}.dist-info"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Templates, styles and py.typed are shipped like modules, and nothing that git does not know."""
    tracked = {
        path.relative_to(ROOT / root).as_posix()
        for package, root in PACKAGES.items()
        for path in files()
        if path.is_relative_to(ROOT / root / package)
    }
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert tracked - shipped == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped
    assert not [name for name in shipped if "__pycache__" in name]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    """The wheel names the required Python and the licence, which it contains, and installs both commands."""
    (path,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = message_from_bytes(wheel.read(path))
    assert metadata["Name"] == "langfuse-integration"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert [name for name in wheel.namelist() if name.endswith("/licenses/LICENSE")]
    commands = wheel.read(path.replace("METADATA", "entry_points.txt")).decode()
    assert "langfuse-integration = langfuse_integration.cli:main" in commands
    assert "lfi = langfuse_integration.cli:main" in commands


def test_no_source_root_is_a_package() -> None:
    """A source root that were a package would shadow the real `mcp` wherever `adapters` is on the path."""
    roots = [ROOT / "core", ROOT / "adapters", *(ROOT / "adapters").iterdir()]
    assert [path for path in roots if (path / "__init__.py").exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed_and_is_imported_from_its_root(package: str) -> None:
    """Each package has a py.typed, and an editable install finds the real file."""
    home = ROOT / PACKAGES[package] / package
    assert (home / "py.typed").is_file()
    code = f"import importlib.util; print(importlib.util.find_spec({package!r}).origin)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd="/"
    )
    assert found.stdout.strip() == str(home / "__init__.py")


def test_no_folder_of_tests_hides_a_framework() -> None:
    """`tests` is on the path of the tests: a package in it named like one that we import would hide that one."""
    inside = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    inside |= {path.stem for path in (ROOT / "tests").glob("*.py")}
    others = {name for name in packages_distributions() if name not in PACKAGES} | set(sys.stdlib_module_names)
    assert inside & others == set()


@pytest.mark.parametrize(
    ("extra", "name", "stated"),
    [
        (None, "langfuse", ">=4.7,<6"),
        ("langchain", "langchain-core", ">=1,<2"),
        ("llamaindex", "llama-index-core", ">=0.14,<0.15"),
        ("mcp", "mcp", ">=1.24,<3"),
    ],
)
def test_the_bounds_are_those_that_are_tested(extra: str | None, name: str, stated: str) -> None:
    """What is integrated with is bounded on both sides: by the releases that the compatibility environments run."""
    given = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    assert bounds(given, name) == stated


def test_every_requirement_has_a_lower_bound() -> None:
    """The oldest allowed release is a stated one, so that it can be tested."""
    extras = PROJECT["optional-dependencies"]
    stated = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    free = [line for line in stated if ">=" not in line and not line.startswith("langfuse-integration[")]
    assert free == ["types-protobuf"]


def test_all_means_every_extra_for_users() -> None:
    """`[all]` is each framework, host and store; the demo and our own tools are not in it."""
    (line,) = PROJECT["optional-dependencies"]["all"]
    named = set(re.fullmatch(r"langfuse-integration\[(.+)\]", line)[1].split(","))  # type: ignore[index]
    assert named == set(PROJECT["optional-dependencies"]) - {"all", "demo", "test", "dev", "bench", "docs", "release"}


def test_what_core_imports_is_declared() -> None:
    """Core leans on no package that merely happens to be there: each is a dependency or of an extra."""
    extras = PROJECT["optional-dependencies"]
    declared = {name_of(each) for each in PROJECT["dependencies"]}
    for_users = ("mcp", "viewer", "redis", "prices", "streamlit", "threads")
    declared |= {name_of(each) for extra in for_users for each in extras[extra]}
    # A pytest plugin is loaded by pytest; opentelemetry-exporter-otlp-proto-http is langfuse's dependency, anyio mcp's.
    # pydantic is langfuse's, and that of each framework whose objects are put into their exact form.
    declared |= {"pytest", "opentelemetry-exporter-otlp-proto-http", "anyio", "pydantic"}
    # A host's module is imported by applications that have the host; each reports what is missing.
    declared |= {"arq", "celery", "chainlit", "dramatiq", "gradio", "ipython", "nicegui", "rq"}
    distributions = packages_distributions()
    undeclared = {}
    for path in (ROOT / "core").rglob("*.py"):
        for module in absolute_imports(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES:
                continue
            owners = {name_of(each) for each in distributions.get(top, [top])}
            if not owners & declared:
                undeclared[module] = path.name
    assert undeclared == {}


def absolute_imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports by absolute name, at its top or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_constraints_hold_names_and_versions_only() -> None:
    """No address, path, hash or option: constraints.txt means the same on every index."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==\d[\w.]*", line)] == []
    assert len({line.split("==")[0] for line in lines}) == len(lines)


def test_constraints_pin_every_direct_requirement() -> None:
    """Whatever pyproject.toml names stands in constraints.txt too, so that `make test` is the same next year."""
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = PROJECT["optional-dependencies"]
    named = {name_of(line) for lines in [PROJECT["dependencies"], *extras.values()] for line in lines}
    assert named - pinned - {"langfuse-integration"} == set()


def test_nothing_names_a_registry_or_a_place_on_one_machine() -> None:
    """No file tells where its packages came from, or in which folder it was written."""
    told = re.compile(
        r"https?://(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|npmjs\.org|npmjs\.com|debian\.org)\b"
        r"|registry\.npm|--index-url|--extra-index-url"
        r"|(?<![\w./])/(?:root|home|Users|work|opt)/\w"
    )
    found = []
    for path in files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {line.strip()}" for line in text.splitlines() if told.search(line)]
    assert found == []


def test_the_documents_list_every_direct_dependency() -> None:
    """docs/dependencies.md has each required package, and each one of an extra for users."""
    text = (ROOT / "docs/dependencies.md").read_text()
    listed = {name for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE) for name in re.findall(r"[\w-]+", row)}
    extras = PROJECT["optional-dependencies"]
    for_users = re.search(r"\[(.*)\]", extras["all"][0])
    assert for_users is not None
    required = [*PROJECT["dependencies"], *(line for extra in for_users[1].split(",") for line in extras[extra])]
    assert {name_of(line) for line in required} - listed == set()
