"""What the documents name exists: files, links, variables, commands, tasks, methods, addresses, schedules."""

import ast
import inspect
import re
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import get_commands
from django.urls import resolve

from api_service.services import (
    around_rules,
    beat_rules,
    clearing,
    health_rules,
    money_rules,
    node_rules,
    outcomes,
    retention,
    warm_plan,
)
from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from tests.unit.docs.documents import CACHE_README, DOCUMENTS, ROOT, anchors, fences, links, name_of, prose, text_of
from workers import schedules, tasks

OPERATIONS = ROOT / "docs" / "operations.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
ENVIRONMENT = ROOT / ".env.example"

FOLDERS = ("api_service", "workers", "myproject", "tests", "docs", "deploy", "scripts")
PATH_NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")
ENVIRONMENT_READ = re.compile(r"""\b(?:env\.\w+|environ(?:\.get)?)[\[(]\s*f?["']([A-Z][A-Z0-9_]+)""")
VARIABLE_NAMED = re.compile(r"`\$?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
VARIABLE_SET = re.compile(r"(?:^|\s)([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)=", re.MULTILINE)
COMMAND = re.compile(r"manage\.py (\w+)")
TASK = re.compile(r"workers\.tasks\.(\w+)")
ADDRESS = re.compile(r"(?<![\w/])(/(?:health|api/v1|admin)/[\w/<>]*)")
MAKE = re.compile(r"(?:^    |`)make ([a-z]+)", re.MULTILINE)

# Read by other programs or written as an example of a new one, not by our settings
OTHERS = {
    *("NUBEFACT_TOKEN", "NUBEFACT_BASE_URL", "PAGER_URL"),
    *("DJANGO_SETTINGS_MODULE", "STATIC_ROOT"),
    # constants of the code and values of answers, in the same letters
    *("NO_EXISTE_SUNAT", "FORMATO_INVALIDO", "ERROR_API", "TIME_ZONE", "NAME_FILE", "MAX_ENTRIES"),
}
# Examples that docs/extending.md makes and the repository does not have
NOT_THERE = {"report_spend"}


def variables() -> set[str]:
    """All that settings, gunicorn, Compose and the tests' scripts read."""
    sources = [ROOT / "myproject" / "settings.py", *sorted((ROOT / "deploy").glob("*.py"))]
    read = {name for path in sources for name in ENVIRONMENT_READ.findall(text_of(path))}
    return read | set(re.findall(r"^#? ?([A-Z][A-Z0-9_]+)=", text_of(ENVIRONMENT), re.MULTILINE))


def public_methods(service: type) -> list[str]:
    return [name for name, _ in inspect.getmembers(service, inspect.isfunction) if not name.startswith("_")]


def by_document(pattern: re.Pattern[str], text: dict[str, str] | None = None) -> list[tuple[str, str]]:
    texts = text or {name_of(path): text_of(path) for path in DOCUMENTS}
    return [(name, found) for name, content in texts.items() for found in pattern.findall(content)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_inside_the_repository_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links(text_of(document)):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if not target.exists() or (anchor and anchor not in anchors(text_of(target))):
            broken.append(link)

    assert text_of(document).startswith("# ")
    assert broken == []


def test_every_file_named_exists() -> None:
    named = by_document(PATH_NAMED)
    examples = {
        block.text.split()[1] for block in fences(text_of(ROOT / "docs" / "extending.md")) if block.text[0] == "#"
    }

    assert len(named) > 30
    assert [(doc, path) for doc, path in named if not (ROOT / path).exists() and path not in examples] == []


def test_every_file_of_the_layout_exists() -> None:
    """Indented names belong to the folder above them."""
    block = text_of(ROOT / "README.md").partition("## Layout\n")[2].partition("\nWhat it cannot do")[0]
    folders: dict[int, Path] = {0: ROOT}
    missing, seen = [], 0
    for line in block.splitlines():
        if not (name := line.strip().split("  ")[0]):
            continue
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        path = folders[depth] / name
        folders[depth + 1] = path
        seen += 1
        if not path.exists():
            missing.append(str(path.relative_to(ROOT)))

    assert seen > 25
    assert missing == []


def test_every_variable_named_is_one_that_is_read() -> None:
    known = variables() | OTHERS
    named = by_document(VARIABLE_NAMED) + by_document(VARIABLE_SET)
    wrong = [(doc, name) for doc, name in named if name not in known and name.removesuffix("_FILE") not in known]

    assert len(named) > 60
    assert wrong == []


def test_the_life_times_of_the_cache_guide_are_the_defaults() -> None:
    shown = dict(re.findall(r"^\| `(CACHE_TTL_\w+)` \| (\d+) \|", text_of(CACHE_README), re.MULTILINE))
    settings = text_of(ROOT / "myproject" / "settings.py")
    defaults = re.findall(r'(CACHE_TTL_\w+): int = env\.int\("\w+", ([\d_]+)[,)]', settings)

    assert len(shown) == 4
    assert shown == {name: value.replace("_", "") for name, value in defaults}


def test_every_command_named_exists() -> None:
    known = set(get_commands())
    named = by_document(COMMAND)

    assert {"check_cache", "warm_rucs", "clear_cache", "demo_traffic", "check_beat"} <= {name for _, name in named}
    assert [(doc, name) for doc, name in named if name not in known] == []


def test_every_task_named_exists_and_every_task_is_in_the_guides() -> None:
    named = by_document(TASK)
    scheduled = {row.task.rpartition(".")[2] for row in schedules.TABLE.values()}

    assert [(doc, name) for doc, name in named if name not in NOT_THERE and not hasattr(tasks, name)] == []
    for document in (CACHE_README, OPERATIONS):
        assert scheduled <= set(TASK.findall(text_of(document)))


@pytest.mark.parametrize("service", [APICacheService, MigoAPIService])
def test_every_public_method_has_its_place_in_the_cache_guide_and_an_example(service: type) -> None:
    text = text_of(CACHE_README)
    named = " ".join(re.findall(r"`[^`\n]+`", prose(text)))
    called = " ".join(block.text for block in fences(text) if block.language == "python")
    methods = public_methods(service)

    assert len(methods) >= 9
    assert [name for name in methods if not re.search(rf"\b{name}\b", named)] == []
    assert [name for name in methods if f".{name}(" not in called] == []


def test_every_outcome_and_reason_to_skip_is_explained() -> None:
    words = set(re.findall(r"`(\w+)`", text_of(CACHE_README)))
    reasons = set(re.findall(r"`(\w+)`", text_of(OPERATIONS)))

    assert {outcome.value for outcome in outcomes.Outcome} <= words
    assert {source.value for source in outcomes.Source} <= words
    for module in (warm_plan, "api_service/services/warm_refresh.py"):
        source = inspect.getsource(module) if inspect.ismodule(module) else text_of(ROOT / str(module))
        skipped = set(re.findall(r'(?:_skip\(|_at_most\(.*, |return |else |skipped\[)"([a-z_]+)"', source))
        assert skipped
        assert skipped <= reasons


def test_every_address_named_is_served() -> None:
    named = [
        (doc, found.replace("<ruc>", "20100038146")) for doc, found in by_document(ADDRESS) if "tasks" not in found
    ]

    assert {"/health/live", "/health/ready", "/health/cache", "/health/beat"} <= {address for _, address in named}
    assert [(doc, address) for doc, address in named if not callable(resolve(address).func)] == []


def test_every_target_of_make_exists() -> None:
    known = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = by_document(MAKE)

    assert {"run", "test"} <= {name for _, name in named}
    assert [(doc, name) for doc, name in named if name not in known] == []


def test_the_runbook_has_an_entry_for_every_finding_and_every_check_id() -> None:
    rules = "".join(map(inspect.getsource, (health_rules, money_rules, around_rules, beat_rules, node_rules)))
    codes = set(re.findall(r'Finding\(\s*"(\w+)"', rules)) | set(node_rules.RULES)
    ids = set(re.findall(r'id="(api_service\.\w+)"', text_of(ROOT / "api_service" / "checks.py")))
    headings = set(re.findall(r"^##+ (\S+)$", text_of(RUNBOOK), re.MULTILINE))

    assert len(codes) >= 7
    assert len(ids) >= 3
    assert codes | ids <= headings


def test_the_schedules_are_those_of_the_code() -> None:
    pattern = re.compile(r"^\| `([\w-]+)` \| `([\w.]+)` \| `?([\w*/:-]+)`? \| `(\w+)` \|", re.MULTILINE)
    shown = {name: (task, when, queue) for name, task, when, queue in pattern.findall(text_of(OPERATIONS))}
    real = {}
    for name, row in schedules.TABLE.items():
        minute, hour = repr(row.when).removeprefix("<crontab: ").split()[:2]
        real[name] = (row.task, minute if hour == "*" else f"{int(hour):02d}:{int(minute):02d}", row.queue)

    assert shown == real


def test_the_retention_is_that_of_the_code() -> None:
    table = text_of(OPERATIONS).partition("## Retention\n")[2].partition("\n## ")[0]
    settings = dict(re.findall(r'env\.int\("(\w+_DAYS)", (\d+)[,)]', text_of(ROOT / "myproject" / "settings.py")))

    named = {name: days for name, days in settings.items() if re.search(r"_(RETENTION|GONE|HISTORY)_DAYS$", name)}
    assert len(named) == 4
    assert dict(re.findall(r"`(\w+_DAYS)` \((\d+)\)", table)) == named
    assert f"warm runs, refills, copies | {retention.RUNS_KEPT_DAYS} days" in table
    assert f"| clearings | {clearing.RUNS_KEPT.days} days; dry runs {clearing.DRY_RUNS_KEPT.days} days |" in table
    assert f"look-ups and paid queries by hour | {retention.COUNTS_KEPT_DAYS} days" in table


def test_every_table_of_the_database_is_in_the_architecture() -> None:
    text = text_of(ROOT / "docs" / "architecture.md").partition("## Data\n")[2].partition("\n## ")[0]
    tables = {model.__name__ for model in apps.get_app_config("api_service").get_models()}

    assert len(tables) >= 12
    assert tables <= set(re.findall(r"`(\w+)`", text))


def test_python_in_the_readme_can_be_compiled() -> None:
    blocks = [block.text for block in fences(text_of(ROOT / "README.md")) if block.language == "python"]

    assert blocks
    for block in blocks:
        assert ast.parse(block).body


def test_no_document_decides_health_by_a_sign() -> None:
    """`status` and `findings` are for programs; the texts with signs are for people."""
    code = "\n".join(block.text for path in DOCUMENTS for block in fences(text_of(path)))

    assert '"✅ OK"' in code
    assert re.findall(r"[✅❌][^\n]*\bin\b|(?:startswith|==)\(?\s*[\"'][✅❌]", code) == []
    assert "status" in prose(text_of(CACHE_README))
