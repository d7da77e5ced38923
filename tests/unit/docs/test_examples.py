"""The examples of CACHE_README.md do what they show."""

import doctest
import json
from typing import Any

import pytest

from api_service.services.cache_service import APICacheService
from api_service.services.migo_service import MigoAPIService
from tests.unit.docs.documents import CACHE_README, Fence, fences, sections, text_of

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples_by_section() -> dict[str, list[Fence]]:
    found = {title: fences(body, line) for title, body, line in sections(text_of(CACHE_README))}
    return {
        title: examples
        for title, blocks in found.items()
        if (examples := [block for block in blocks if block.language == "python"])
    }


def run(examples: list[Fence], names: dict[str, Any]) -> str:
    """What differs from the text, "" when nothing does. The examples of a section build on each other."""
    report: list[str] = []
    runner, parser = doctest.DocTestRunner(optionflags=OPTIONS), doctest.DocTestParser()
    for block in examples:
        test = parser.get_doctest(block.text, names, "CACHE_README.md", str(CACHE_README), block.line - 1)
        runner.run(test, out=report.append, clear_globs=False)
        names.update(test.globs)
    return "".join(report)


def shape(value: Any) -> Any:
    """Names and kinds, not values: those of a list are those of its first item."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def samples() -> dict[str, Any]:
    """The JSON shown under health and statistics, by what only that result has."""
    title = "Salud y estadísticas"
    shown = [
        json.loads(block.text)
        for name, body, line in sections(text_of(CACHE_README))
        if name == title
        for block in fences(body, line)
        if block.language == "json"
    ]
    return {"get_health" if "checks" in sample else "get_cache_stats": sample for sample in shown}


@pytest.mark.parametrize("title", examples_by_section())
@pytest.mark.usefixtures("service_running")
def test_the_examples_of_a_section_do_what_they_show(title: str) -> None:
    examples = examples_by_section()[title]
    names = {"cache": APICacheService(), "migo": MigoAPIService()}

    assert any(">>>" in example.text for example in examples)
    assert run(examples, names) == ""


def test_an_example_that_shows_something_else_is_found() -> None:
    right, wrong = Fence("python", ">>> 1 + 1\n2\n", 1), Fence("python", ">>> 1 + 1\n3\n", 1)

    assert run([right], {}) == ""
    assert "Expected:\n    3" in run([wrong], {})


@pytest.mark.usefixtures("service_running")
def test_the_results_shown_have_the_form_of_the_real_ones() -> None:
    cache = APICacheService()
    MigoAPIService().consultar_ruc("20100038146")
    cache.get("absent")
    for ruc in ("20123456789", "20999999999"):
        cache.add_invalid_ruc(ruc, "FORMATO_INVALIDO")
    shown = samples()

    assert shape(shown["get_health"]) == shape(cache.get_health())
    assert shape(shown["get_cache_stats"]) == shape(cache.get_cache_stats())
    assert shown["get_cache_stats"]["timeouts"] == cache.get_cache_stats()["timeouts"]


def test_every_python_block_is_an_example_that_runs() -> None:
    blocks = [block for examples in examples_by_section().values() for block in examples]

    assert len(blocks) > 10
    assert [block.line for block in blocks if not block.text.startswith(">>>")] == []
