"""The layers of the package: what each file imports, held against the table in ARCHITECTURE.md."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from conftest import PROJECT
from packaging.requirements import Requirement

PACKAGE = "mnist_exp"
MOST_LINES = 300
MOST_FILES = 102  # besides __init__ and __main__; 23 of them are the review: lower this whenever files go
STORE_LIBRARIES = {"mlflow", "sqlalchemy"}
STORE_FOLDER = f"{PACKAGE}.tracking.mlflow."


@dataclass(frozen=True)
class Import:
    """A line of a file that imports a module, at whatever depth: in a function, or for type checkers only."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


@cache
def modules() -> Mapping[str, Path]:
    """The files of the package by the names that they are imported by."""
    found = {}
    for file in sorted((PROJECT / PACKAGE).rglob("*.py")):
        parts = file.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports() -> list[Import]:
    """Every import in every file of the package."""
    return [each for name, file in modules().items() for each in imports_of(name, ast.parse(file.read_text()))]


def imports_of(name: str, tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: a relative import"
            assert node.module is not None
            for alias in node.names:  # `from package import x`: x is a module of it, or a name in it
                inner = f"{node.module}.{alias.name}"
                yield Import(name, node.lineno, inner if inner in modules() else node.module)


def room(module: str) -> str:
    """The part of the package that a module is in, as the table calls it: ``base``, or ``metrics.py``."""
    top = module.split(".")[1]
    return f"{top}.py" if modules().get(f"{PACKAGE}.{top}", Path()).name == f"{top}.py" else top


def is_top(module: str) -> bool:
    """True for ``__init__`` and ``__main__`` of the package, which may import every layer."""
    return module in (PACKAGE, f"{PACKAGE}.__main__")


@cache
def layers() -> list[str]:
    """The rooms in the table of ARCHITECTURE.md, lowest first."""
    section = (PROJECT / "ARCHITECTURE.md").read_text().split("\n## Layers\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| *(\d+) *\| *`([\w.]+?)/?` *\|", section, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1)), "numbered from 1"
    return [name for _, name in rows]


def own_imports() -> list[Import]:
    """The imports of the package's own modules, from layers."""
    return [each for each in imports() if each.imported.split(".")[0] == PACKAGE and not is_top(each.importer)]


def test_the_table_names_every_room_once() -> None:
    rooms = {room(name) for name in modules() if not is_top(name)}
    assert sorted(layers()) == sorted(rooms)


def test_a_file_imports_only_from_layers_below_or_from_its_own_room() -> None:
    level = {name: number for number, name in enumerate(layers())}
    upward = [
        str(each)
        for each in own_imports()
        if is_top(each.imported) or level[room(each.imported)] > level[room(each.importer)]
    ]
    assert not upward, "\n".join(upward)


def test_no_files_import_each_other_in_a_circle() -> None:
    needed: dict[str, set[str]] = {name: set() for name in modules()}
    for each in own_imports():
        needed[each.importer].add(each.imported)
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(reversed(error.args[1]))}")


def test_only_one_folder_imports_mlflow_and_its_database() -> None:
    elsewhere = [
        str(each)
        for each in imports()
        if each.imported.split(".")[0] in STORE_LIBRARIES and not each.importer.startswith(STORE_FOLDER)
    ]
    assert not elsewhere, "\n".join(elsewhere)


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = {Requirement(each).name.lower().replace("_", "-") for each in project["dependencies"]}
    distributions = packages_distributions()
    libraries = {each.imported.split(".")[0] for each in imports()} - sys.stdlib_module_names - {PACKAGE}
    undeclared = [
        library
        for library in sorted(libraries)
        if declared.isdisjoint(name.lower().replace("_", "-") for name in distributions[library])
    ]
    assert undeclared == []


def test_no_file_is_long() -> None:
    lines = {name: len(file.read_text().splitlines()) for name, file in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_the_files_grow_no_more_numerous() -> None:
    files = [file for file in modules().values() if file.name not in ("__init__.py", "__main__.py")]
    assert len(files) <= MOST_FILES
