"""replay_warming: what it reads, what it prints, how it ends."""

import gzip
from pathlib import Path

import pytest

from tests.integration.commands.conftest import Run

DAY = 86_400


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two weeks of ten keys that come each morning at their minute."""
    lines = [f"{day * DAY + 32_400 + 60 * key},k{key}\n" for day in range(14) for key in range(10)]
    path = tmp_path / "access.csv.gz"
    path.write_bytes(gzip.compress(("# synthetic\ntimestamp,key\n" + "".join(lines)).encode()))
    return path


def test_json_is_the_report_and_nothing_else(run: Run, log: Path) -> None:
    ended = run("replay_warming", str(log), "--ttl", "3600", "--period", "300", "--learn-days", "7", "--json")
    assert ended.code == 0
    assert ended.json["accesses"] == 70
    assert [row["budget"] for row in ended.json["budgets"]] == [1, 2, 4, 8]
    for row in ended.json["budgets"]:
        assert set(row) == {"budget", "misses_none", "misses_policy", "misses_clairvoyant", "warms", "wasted"}
        assert row["misses_clairvoyant"] <= row["misses_policy"] <= row["misses_none"] == 70
        assert 0 <= row["wasted"] <= row["warms"]


def test_people_get_the_curve_beside_the_baselines(run: Run, log: Path) -> None:
    ended = run("replay_warming", str(log), "--learn-days", "7", "--budgets", "2,5")
    assert ended.code == 0
    assert "70 look-ups, 70 misses without warming" in ended.out
    assert "refresh on access: 70 misses" in ended.out
    rows = [line for line in ended.out.splitlines() if line[:1].isupper() or line[:2] in {"2 ", "5 "}]
    assert [row.split()[0] for row in rows] == ["BUDGET", "2", "5"]
    assert "TOP OF 24 H" in rows[0]
    assert "TOP OF ALL TIME" in rows[0]


def test_a_break_even_spends_less(run: Run, log: Path) -> None:
    arguments = ("replay_warming", str(log), "--learn-days", "7", "--budgets", "8", "--json")
    everything, worthwhile = run(*arguments), run(*arguments, "--break-even", "0.25")
    assert worthwhile.json["budgets"][0]["warms"] < everything.json["budgets"][0]["warms"] / 4


def test_without_learn_days_the_first_half_teaches(run: Run, log: Path) -> None:
    assert run("replay_warming", str(log), "--json").json["accesses"] == 70


def test_a_bad_line_is_named_and_ends_with_two(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("10,a\nnot a line\n", encoding="utf-8")
    ended = run("replay_warming", str(path), "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "line 2" in ended.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--budgets", "1,x"), "--budgets"),
        (("--budgets", "0"), "--budgets"),
        (("--period", "0"), "--period"),
        (("--period", "7200", "--ttl", "3600"), "--period"),
        (("--learn-days", "-1"), "--learn-days"),
        (("--learn-days", "99"), "before there is anything to measure"),
        (("--break-even", "-1"), "--break-even"),
    ],
)
def test_arguments_that_cannot_be_are_named(run: Run, log: Path, arguments: tuple[str, ...], reason: str) -> None:
    ended = run("replay_warming", str(log), *arguments)
    assert ended.code == 2
    assert reason in ended.err


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    ended = run("replay_warming", "nowhere.csv")
    assert ended.code == 2
    assert "nowhere.csv" in ended.err
