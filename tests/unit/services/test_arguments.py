from typing import Any

import pytest

from workers.arguments import checked

done: list[tuple[Any, ...]] = []


@checked
def task(limit: int | None = None, rucs: list[str] | None = None, dry_run: bool = False) -> str:
    """Says what it does."""
    done.append((limit, rucs, dry_run))
    return "done"


@checked
def without_arguments() -> str:
    done.append(())
    return "done"


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


def test_arguments_that_fit_are_passed_on() -> None:
    assert task() == "done"
    assert task(limit=5, rucs=["20100038146"], dry_run=True) == "done"
    assert done == [(None, None, False), (5, ["20100038146"], True)]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"limit": "many"}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"rucs": "20100038146"}, "rucs"),
        ({"rucs": ["20100038146", 5]}, "rucs.1"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"limt": 5}, "limt"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line_and_nothing_is_done(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: ") as refused:
        task(**wrong)

    assert "\n" not in str(refused.value)
    assert done == []


def test_each_of_several_wrong_arguments_is_named() -> None:
    with pytest.raises(ValueError, match=r"^limit: .+; dry_run: .+$"):
        task(limit="x", dry_run="y")  # type: ignore[arg-type]


def test_values_are_not_repeated_as_they_may_be_secrets() -> None:
    with pytest.raises(ValueError, match="limit") as refused:
        task(limit="s3cret-token")  # type: ignore[arg-type]

    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_too_many_positional_arguments_are_refused_too() -> None:
    with pytest.raises(ValueError, match=r"^0: "):
        without_arguments(5)  # type: ignore[call-arg]
    assert done == []


def test_a_tasks_name_and_text_survive_the_check() -> None:
    assert (task.__name__, task.__doc__) == ("task", "Says what it does.")
