"""The runbook says of every finding when it counts, as the code does."""

import re
from pathlib import Path

from api_service.services.finding_policy import TABLE

RUNBOOK = Path(__file__).resolve().parents[3] / "docs" / "runbook.md"


def test_the_runbook_says_when_each_finding_counts() -> None:
    section = RUNBOOK.read_text(encoding="utf-8").partition("## When a finding counts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (\d+)/(\d+)/(\d+) \| (each run|one a period) \|$", section, re.MULTILINE)
    said = {
        code: (int(bad), int(of), int(good), runs == "each run")
        for codes, bad, of, good, runs in rows
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert said == {code: (row.bad, row.of, row.good, row.quick) for code, row in TABLE.items()}
