import pytest

from tests.benchmarks import __main__ as benchmarks


def test_every_benchmark_is_found_and_what_they_share_is_none() -> None:
    found = benchmarks.available()

    assert {"cache", "reads"} <= set(found)
    assert not {"stage", "__main__", "__init__"} & set(found)


def test_what_needs_packages_of_its_own_runs_only_when_it_is_named() -> None:
    assert set(benchmarks.available()) - set(benchmarks.by_default()) == {"peers"}


@pytest.mark.parametrize(
    ("arguments", "names", "options"),
    [
        ([], [], []),
        (["--json"], [], ["--json"]),
        (["--sizes", "10000"], [], ["--sizes", "10000"]),
        (["reads", "cache", "--sizes", "10000", "--json"], ["reads", "cache"], ["--sizes", "10000", "--json"]),
    ],
)
def test_names_come_first_and_options_follow(arguments: list[str], names: list[str], options: list[str]) -> None:
    assert benchmarks.split(arguments) == (names, options)


def test_a_benchmark_of_single_reads_is_given_no_sizes() -> None:
    assert benchmarks.without_sizes(["--sizes", "1", "--json", "--sizes=2"]) == ["--json"]


def test_a_name_that_no_benchmark_has_runs_nothing_and_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["cache", "nothing"]) == 2
    said = capsys.readouterr().err
    assert "no benchmark nothing" in said
    assert "reads" in said
