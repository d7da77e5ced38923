"""What axe-core finds on a page: what a screen reader, a weak eye or a keyboard could not use."""

from __future__ import annotations

import json

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

SERIOUS = {"serious", "critical"}
# The rows of a list are alike, and each takes its time
EXCEPT = {"exclude": ["#result_list tbody tr:nth-child(n+5)", "#result_list tbody:nth-of-type(n+5)"]}
# Of the guidelines, as far as they can be told without a person
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
OPTIONS = {"resultTypes": ["violations"], "runOnly": RULES}


def serious(page: Page) -> list[str]:
    """Impact, rule, and the first places of what is serious or critical, as the page is shown now."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(f"axe.run({json.dumps(EXCEPT)}, {json.dumps(OPTIONS)})")
    return [
        f"{one['impact']} {one['id']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
