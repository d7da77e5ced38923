"""What a page asked for and its policy refused, as the browser tells."""

from __future__ import annotations

from playwright.sync_api import Page

NOTE = """
window.refused = [];
document.addEventListener("securitypolicyviolation", event => window.refused.push(
    `${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile ?? ""}:${event.lineNumber} ${event.sample}`));
"""


def note_refusals(page: Page) -> None:
    """From the next page on that is opened in it."""
    page.add_init_script(NOTE)


def refused(page: Page) -> list[str]:
    """On the page that is open, since it was loaded."""
    return list(page.evaluate("window.refused"))
