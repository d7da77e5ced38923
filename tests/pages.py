"""Every page that people see, found in the admin itself: a table or a form that is added later is among them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.contrib.admin.views.main import ChangeList
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.rucs import REAL

FRONT = "front page"
# What stands for an argument of an address, beside the key of a row
ARGUMENTS = {
    "app_label": ("api_service",),
    "number": (REAL[0],),
    "form": (".csv",),
    # What is done to a RUC
    "act": ("refresh", "forget", "mark", "unmark"),
}
KEYS = {"object_id", "id"}
# Django's own, of which none is a page to look at
NO_PAGES = {"logout", "jsi18n", "autocomplete", "view_on_site"}


@dataclass(frozen=True)
class Page:
    """`table` is the name of the model, "" for a page of none; `what` tells it from the others of its table."""

    table: str
    what: str
    url: str


def every_page(client: Client, *, choices: bool = False) -> Iterator[Page]:
    """For one who is logged in, visited once each. The first row of a list stands for all of them.

    With `choices` also the last row, what each filter offers, a search, the last page, and parts that a page loads.
    """
    beside = (Page("", FRONT, reverse("admin:index")), Page("", "reference of the API", reverse("api:openapi-view")))
    others = (*beside, *_of_the_site(), *_below_the_admin())
    yield from (page for page in others if _is_page(client, page.url, part=choices))
    for model_admin in list(admin.site._registry.values()):
        yield from _of_table(client, model_admin, choices=choices)


def sample(pages: Sequence[Page]) -> Iterator[tuple[Page, bool]]:
    """The first of each sort (list, row, form, …), which are True, and a third of the others: they share templates."""
    sorts: set[str] = set()
    for number, page in enumerate(pages):
        is_first = page.what not in sorts
        sorts.add(page.what)
        if is_first or number % 3 == 0:
            yield page, is_first


def _of_the_site() -> Iterator[Page]:
    registered = {url.name for each in admin.site._registry.values() for url in each.get_urls()}
    for pattern in admin.site.get_urls():
        if isinstance(pattern, URLPattern) and pattern.name and pattern.name not in registered | NO_PAGES | {"index"}:
            yield from (Page("", pattern.name, url) for url in _addresses("admin:", pattern))


def _below_the_admin() -> Iterator[Page]:
    """Addresses of our own that are behind the admin's door."""
    front = reverse("admin:index")
    for resolver in get_resolver().url_patterns:
        if not isinstance(resolver, URLResolver) or resolver.namespace == "admin":
            continue
        prefix = f"{resolver.namespace}:" if resolver.namespace else ""
        patterns = (pattern for pattern in resolver.url_patterns if isinstance(pattern, URLPattern))
        below = (pattern for pattern in patterns if str(resolver.pattern).startswith("admin/"))
        for url in (url for pattern in below for url in _addresses(prefix, pattern)):
            yield Page("", url.removeprefix(front).strip("/"), url)


def _of_table(client: Client, model_admin: ModelAdmin[Any], *, choices: bool) -> Iterator[Page]:
    options = model_admin.opts
    url = reverse(f"admin:{options.app_label}_{options.model_name}_changelist")
    rows: ChangeList = _context(client, url)["cl"]
    yield Page(str(options.model_name), "list", url)
    if choices:
        yield from (Page(str(options.model_name), what, url + query) for what, query in _choices(rows))
    shown = list(rows.result_list)
    keys = {"first row": shown[0].pk} if shown else {}
    keys |= {"last row": shown[-1].pk} if choices and len(shown) > 1 else {}
    yield from _of_rows(client, model_admin, keys)


def _context(client: Client, url: str) -> dict[str, Any]:
    answer = client.get(url)
    assert isinstance(answer, TemplateResponse), (url, answer.status_code)
    assert answer.context_data is not None
    return answer.context_data


def _of_rows(client: Client, model_admin: ModelAdmin[Any], keys: dict[str, Any]) -> Iterator[Page]:
    table = str(model_admin.opts.model_name)
    for pattern in model_admin.get_urls():
        name = pattern.name or ""
        if not name or name.endswith(("_changelist", "_history", "_delete")):
            continue
        what = name.removeprefix(f"{model_admin.opts.app_label}_{table}_")
        per_row = KEYS & set(pattern.pattern.regex.groupindex)
        for which, key in keys.items() if per_row else [("", None)]:
            pages = (Page(table, f"{what} {which}".strip(), url) for url in _addresses("admin:", pattern, key))
            yield from (page for page in pages if _is_page(client, page.url))


def _choices(rows: ChangeList) -> Iterator[tuple[str, str]]:
    for spec in rows.filter_specs:
        for choice in spec.choices(rows):
            query = str(choice.get("query_string", ""))
            if query and not choice["selected"]:
                yield f"{spec.title}: {choice['display']}", query
    if rows.search_fields and rows.result_list:
        yield "search", f"?q={quote(str(_searched(rows)))}"
    if rows.paginator.num_pages > 1:
        yield "last page", f"?p={rows.paginator.num_pages}"


def _searched(rows: ChangeList) -> Any:
    """What a row of the list is found by."""
    value: Any = rows.result_list[0]
    for part in rows.search_fields[0].lstrip("^=@").removesuffix("__startswith").split("__"):
        value = getattr(value, part)
    return value


def _addresses(prefix: str, pattern: URLPattern, key: object = None) -> Iterator[str]:
    """One for each value that stands for an argument."""
    names = list(pattern.pattern.regex.groupindex)
    unknown = [name for name in names if name not in ARGUMENTS and name not in KEYS]
    assert not unknown, f"{pattern.name}: say in {__name__} what stands for {unknown}"
    for values in product(*((key,) if name in KEYS else ARGUMENTS[name] for name in names)):
        yield reverse(f"{prefix}{pattern.name}", kwargs=dict(zip(names, values, strict=True)))


def _is_page(client: Client, url: str, *, part: bool = False) -> bool:
    """Not what only takes a form, leads elsewhere, or gives a file; a part of a page where these are asked for."""
    refusals = logging.getLogger("django.request")
    # Each would be told with its stack
    refusals.addFilter(_is_error)
    try:
        answer = client.get(url)
    finally:
        refusals.removeFilter(_is_error)
    assert answer.status_code < 500, (url, answer.status_code)
    is_file = "Content-Disposition" in answer.headers or answer.streaming
    is_html = answer.status_code == 200 and answer["Content-Type"].startswith("text/html") and not is_file
    return is_html and (part or b"<html" in answer.content)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
