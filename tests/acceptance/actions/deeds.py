"""What a browser sent, by the address and what was asked for there; and what there is to be sent.

A deed is the route of an address as `access.py` has it; behind it, where one address takes several acts, the act:
`admin/api_service/incident/<path:object_id>/act/ mute_1h`. A file that is taken away is a deed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from django.urls import Resolver404, resolve

from api_service.admin.billing import CONTENT_TYPES
from api_service.admin.incident_acts import ACTS
from api_service.admin.ruc_acts import ACTS as RUC_ACTS
from tests.integration.admin.access import ACTIONS, OURS, PAGES, ROW, TABLES, Door, Page, Table, Who, label_of

INCIDENT = f"{OURS}incident/{ROW}/act/"
RUC = "admin/ruc/<str:number>/<slug:act>/"
RESULT = f"{OURS}billingrun/{ROW}/result<str:form>"
# Addresses that take several acts
ACTS_OF: dict[str, tuple[str, ...]] = {INCIDENT: tuple(ACTS), RUC: tuple(RUC_ACTS), RESULT: tuple(CONTENT_TYPES)}

# A POST does there what a GET does: it shows the page, or leads to another one
ONLY_SHOWN = {
    *(route for route in PAGES if route.endswith("run/wait/")),
    *("", "admin/", "admin/<app_label>/", "admin/(?P<url>.*)$", "admin/search/", "admin/ruc/"),
    *("admin/r/<path:content_type_id>/<path:object_id>/", "admin/ruc/<str:number>/"),
    *("api/v1/", "^api/v1/", "api/v1/docs", "api/v1/openapi.json"),
}
# No page leads there: `tests/integration/http` and `tests/integration/api` are about them
FOR_PROGRAMS = {"health/cache", "api/v1/cache/clear", "api/v1/cache/clear/<int:number>"}


def there_are() -> set[str]:
    """All deeds that the pages offer to one who may do everything."""
    return {*_of_pages(), *(deed for name, table in TABLES.items() for deed in _of_table(name, table))}


def _of_pages() -> Iterator[str]:
    for route, page in PAGES.items():
        if _takes_posts(page) and route not in ONLY_SHOWN | FOR_PROGRAMS:
            yield from (f"{route} {act}".strip() for act in ACTS_OF.get(route, ("",)))


def _takes_posts(page: Page) -> bool:
    return page.post not in {None, Who.NOBODY} and page.door is not Door.TOKEN


def _of_table(name: str, table: Table) -> Iterator[str]:
    root = root_of(name)
    forms = {f"{root}add/": table.add, f"{root}{ROW}/change/": table.change, f"{root}{ROW}/delete/": table.delete}
    acts = {**ACTIONS.get(name, {}), "delete_selected": table.delete}
    yield from (form for form, who in forms.items() if who is not Who.NOBODY)
    yield from (f"{root} {act}" for act, who in acts.items() if who is not Who.NOBODY)


def root_of(name: str) -> str:
    """The address of a list."""
    return f"admin/{label_of(name).replace('.', '/')}/"


def on_a_row(name: str) -> set[str]:
    """What is done to rows of a table that people write themselves."""
    return set(_of_table(name, Table(add=Who.VIEWER, change=Who.VIEWER, delete=Who.VIEWER))) - set(acts_of(name))


def acts_of(name: str) -> list[str]:
    return [f"{root_of(name)} {act}" for act in ACTIONS.get(name, {})]


def deed(method: str, url: str, body: str) -> str:
    """Of one request; "" for what only shows a page."""
    try:
        match = resolve(urlsplit(url).path)
    except Resolver404:
        return ""
    route = re.sub(r"\^\(\?P<app_label>[\w|]+\)/\$$", "<app_label>/", match.route)
    said = {name: values[-1] for name, values in parse_qs(body).items()}
    if method != "POST" and route != RESULT:
        return ""
    act = said.get("action") or match.kwargs.get("act") or match.kwargs.get("form") or said.get("act", "")
    return f"{route} {act}".strip()
