"""Rules that hold the shape of the project; each failure names the file and the line."""

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from django.utils.module_loading import import_string

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("api_service", "workers", "myproject")
LONGEST_FUNCTION = 60
LONGEST_FILE = 400
TABLES = (
    "api_service.services.around",
    "api_service.services.providers",
    "api_service.services.backends",
    "workers.alerts.channels",
    "workers.schedules",
    "workers.watch",
)
REGISTRIES = (r"pypi\.org", r"pythonhosted\.", r"registry\.npmjs", r"/simple/", r"proxy\.golang")
MACHINES = (r"(?<![\w.])/(?:home|Users|root)/\w", r"(?<![\w.])/(?:work|opt/pypi)\b")
NOT_FOR_THE_REPO = re.compile("|".join(REGISTRIES + MACHINES))
BINARY = {".png", ".jpg", ".ico", ".mo", ".woff2", ".gz"}


def product_files(*packages: str) -> list[Path]:
    files = [path for package in packages or PRODUCT for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in files if "migrations" not in path.parts]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every imported module of a file, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of every function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def forbidden_imports(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{name_of(path)}:{line} imports {module}"
        for path in product_files(package)
        for line, module in imports(path)
        if module.partition(".")[0] in forbidden
    ]


def dotted_paths(row: object) -> list[str]:
    """The `package.module.name` texts of a table's row, whatever the row's shape."""
    if isinstance(row, str):
        return [row] if row.partition(".")[0] in PRODUCT else []
    if is_dataclass(row):
        row = vars(row) if hasattr(row, "__dict__") else {name: getattr(row, name) for name in row.__dataclass_fields__}
    if isinstance(row, Mapping):
        return [path for value in row.values() for path in dotted_paths(value)]
    if isinstance(row, list | tuple):
        return [path for value in row for path in dotted_paths(value)]
    return []


def table_rows(module: str) -> list[tuple[str, Any]]:
    table = importlib.import_module(module).TABLE
    rows = table.items() if isinstance(table, Mapping) else enumerate(table)
    return [(str(name), row) for name, row in rows]


def tracked_text_files() -> list[Path]:
    """What git tracks, but this file, which names what it forbids."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in BINARY and path != Path(__file__)]


def test_the_domain_never_imports_the_workers_nor_the_project() -> None:
    assert product_files("api_service")
    assert forbidden_imports("api_service", {"workers", "myproject", "tests"}) == []


@pytest.mark.parametrize("package", PRODUCT)
def test_product_code_knows_nothing_of_the_tests(package: str) -> None:
    assert product_files(package)
    assert forbidden_imports(package, {"tests"}) == []


def test_functions_are_short_enough_to_be_read_at_once() -> None:
    found = [(path, *function) for path in product_files() for function in functions(path)]
    assert found
    assert [f"{name_of(p)}:{line} {name}: {n} lines" for p, name, line, n in found if n > LONGEST_FUNCTION] == []


def test_files_are_short_enough_to_be_about_one_thing() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in product_files()}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_file_names_a_package_registry_or_somebodys_machine() -> None:
    files = tracked_text_files()
    found = [
        f"{name_of(path)}:{number}: {match.group()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := NOT_FOR_THE_REPO.search(line))
    ]
    assert len(files) > 50
    assert found == []


@pytest.mark.parametrize("module", TABLES)
def test_every_row_of_an_extension_table_can_be_imported(module: str) -> None:
    rows = table_rows(module)
    assert rows
    for name, row in rows:
        paths = dotted_paths(row)
        assert paths, f"{module}: row {name} names nothing of this project"
        assert [path for path in paths if not callable(import_string(path))] == []
