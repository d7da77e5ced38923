"""Every page of the product as people see it: two languages, two themes, a desk's screen and a phone.

    python -m tests.screenshots FOLDER [--only incident] [--language es] [--view 390-dark] [--axe]

Real servers with a made-up past of three months (tests/site.py), real Chromium; a picture is taken once the page has
come to rest, charts drawn. `--axe` also looks for what axe-core finds serious, in each of these views, and fails if
there is anything. A page that scrolls sideways is named: on a phone nobody finds what is out of sight.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page

from tests import axe
from tests.browser import VIEWS, chromium, context, log_in, show_as, wait_for_rest
from tests.pages import Page as Address
from tests.rucs import REAL
from tests.site import PASSWORD, USERNAME, Site, site

LANGUAGES = ("es", "en")
LOGIN = Address("", "login", "/admin/login/")
# Taller ones are cut: what is below is more of the same
HIGHEST = 2600


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as data, site(Path(data), "shown") as shown, chromium() as browser:
        for ruc in REAL:
            shown.process.look_up(ruc)
        found = [line for language in options.language for line in look(browser, shown, language, options)]
    print("\n".join(found), file=sys.stderr)
    return 1 if found else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="a regular expression that the name of a picture has to match")
    parser.add_argument("--language", choices=LANGUAGES, nargs="+", default=LANGUAGES)
    parser.add_argument("--view", choices=VIEWS, nargs="+", default=VIEWS)
    parser.add_argument("--axe", action="store_true", help="also what axe-core finds serious")
    return parser.parse_args(arguments)


def look(browser: Browser, shown: Site, language: str, options: argparse.Namespace) -> Iterator[str]:
    """What is wrong, page by page."""
    with context(browser, shown.web, language=language) as person:
        page = person.new_page()
        yield from at(page, LOGIN, language, options)
        log_in(page, USERNAME, PASSWORD)
        for address in shown.pages:
            yield from at(page, address, language, options)


def at(page: Page, address: Address, language: str, options: argparse.Namespace) -> Iterator[str]:
    name = name_of(address)
    if not re.search(options.only, name):
        return
    page.goto(address.url)
    for view in options.view:
        show_as(page, view)
        picture = options.folder / f"{name}-{language}-{view}.png"
        take(page, picture)
        if options.axe:
            yield from (f"{picture.stem}: {wrong}" for wrong in axe.serious(page))
        if (beyond := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            yield f"{picture.stem}: scrolls sideways by {beyond} px"


def name_of(address: Address) -> str:
    return re.sub(r"\W+", "-", f"{address.table} {address.what}".strip().lower())


def take(page: Page, picture: Path) -> None:
    """The whole page, without what follows beyond `HIGHEST`: in a window as high, where nothing is fixed amid it."""
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({**size, "height": min(max(height, size["height"]), HIGHEST)})
    wait_for_rest(page)
    page.screenshot(path=picture)
    page.set_viewport_size(size)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
