"""What a clearing takes, and how far its nodes are: pure.

A selection is one service, or one kind of it, or the identifiers that match a pattern. Its keys are those that
`keys.parse` gives that service, kind and identifier; nothing else is ever removed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from api_service.sentences import sentence
from api_service.services import keys
from api_service.services.backends.base import LOCK_PREFIX

OTHER: Final = "other"
# `keys.parse` cuts the name of a kind there
LONGEST_KIND: Final = 50
# Another application may write `migo:<random>_…`: what a row holds of it stays small
KINDS_COUNTED: Final = 50
OTHER_KINDS: Final = "(others)"

DONE: Final = "done"
FAILED: Final = "failed"
RUNNING: Final = "running"
WAITING: Final = "waiting"
LEFT: Final = "left"  # the node is not in CACHE_URL any more

NO_SUCH_KIND: Final = sentence("kind %(kind)s: use its name as it stands in the keys, such as %(kinds)s")
UNDERSCORE: Final = sentence("kind %(kind)s: there is none with an underscore but tipo_cambio; the rest is the pattern")
NO_PATTERN: Final = sentence(
    "pattern: use printable ASCII without spaces, at most 250 characters; * and ? are wildcards"
)

_PRINTABLE = re.compile(r"[!-~]*")
_WILDCARDS = re.compile(r"[*?]")

# wire key → the kind it is counted under, None for a key that stays
Chosen = Callable[[str], str | None]
Matches = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys. An empty `kind` or `pattern` is every one; the pattern is of identifiers, with * and ?."""

    service: str
    kind: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        """`migo`, `migo ruc`, `migo ruc 2010*`."""
        return " ".join(filter(None, (self.service, self.kind, self.pattern)))


class NodeJSON(TypedDict):
    """One node of a clearing: `found` keys of the selection, `removed` of them; `kinds` is what was found by kind."""

    state: str
    found: int
    removed: int
    kinds: dict[str, int]
    error: str


class Totals(TypedDict):
    found: int
    removed: int
    failed: int
    nodes_failed: int


def selection(service: str, kind: str = "", pattern: str = "") -> Selection:
    """Raises ValueError for a name or a pattern that no key can have: a slip must not look like an empty cache."""
    keys.check_service(service)
    if not _PRINTABLE.fullmatch(kind) or len(kind) > LONGEST_KIND or _WILDCARDS.search(kind):
        raise ValueError(NO_SUCH_KIND % {"kind": repr(kind), "kinds": ", ".join(keys.KINDS)})
    if kind not in keys.KINDS and "_" in kind:
        raise ValueError(UNDERSCORE % {"kind": repr(kind)})
    if not _PRINTABLE.fullmatch(pattern) or len(pattern) > keys.MAX_KEY_BYTES:
        raise ValueError(NO_PATTERN)
    return Selection(service, kind, pattern)


def wire_prefix(wanted: Selection, prefix: str) -> str:
    """The longest text that every wire key of the selection begins with; `prefix` is Django's, such as ":1:"."""
    service = f"{prefix}{wanted.service}:"
    if not wanted.kind or wanted.kind == OTHER:
        return service
    if len(wanted.kind) == LONGEST_KIND:
        return service + wanted.kind
    return f"{service}{wanted.kind}_{_WILDCARDS.split(wanted.pattern, maxsplit=1)[0]}"


def matcher(pattern: str) -> Matches:
    """True for the whole identifiers that match: * is any text, ? any one character, all else is itself.

    Each * is final once it has matched the shortest text (atomic groups): the time stays in proportion to the
    identifier, however many of them a pattern has.
    """
    first, *others = (_literal(part) for part in re.sub(r"\*+", "*", pattern).split("*"))
    if not others:
        return re.compile(first, re.DOTALL).fullmatch
    *middle, last = others
    inner = "".join(f"(?>.*?{part})" for part in middle)
    return re.compile(f"{first}{inner}.*{last}", re.DOTALL).fullmatch


def _literal(part: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in part)


def chooser(wanted: Selection, prefix: str) -> Chosen:
    """Tells of a wire key that begins with `wire_prefix` whether it is one of the selection's."""
    matches: Matches | None = matcher(wanted.pattern) if wanted.pattern.strip("*") else None
    start = len(prefix)

    def chosen(wire_key: str) -> str | None:
        parts = keys.parse(wire_key[start:]) if LOCK_PREFIX not in wire_key else None
        if parts is None or parts.service != wanted.service or (wanted.kind and parts.kind != wanted.kind):
            return None
        return parts.kind if matches is None or matches(parts.identifier) else None

    return _fast(wanted, prefix, chosen) if matches is None else chosen


def _fast(wanted: Selection, prefix: str, chosen: Chosen) -> Chosen:
    """The same for keys whose kind stands in their beginning, five times as quick: there are millions of them."""
    heads = tuple(f"{prefix}{wanted.service}:{kind}_" for kind in keys.KINDS if wanted.kind in {"", kind})
    kinds = dict(zip(heads, (kind for kind in keys.KINDS if wanted.kind in {"", kind}), strict=True))
    longest = len(prefix) + keys.MAX_KEY_BYTES

    def quickly(wire_key: str) -> str | None:
        plain = wire_key.isascii() and wire_key.isprintable() and " " not in wire_key and len(wire_key) <= longest
        if plain and LOCK_PREFIX not in wire_key:
            for head in heads:
                if wire_key.startswith(head):
                    return kinds[head]
        return chosen(wire_key)

    return quickly


def start(known: Iterable[str], before: Mapping[str, NodeJSON]) -> dict[str, NodeJSON]:
    """Where a clearing of the nodes `known` stands when it begins, or goes on after what it did `before`.

    A node that was not done begins again: what is left of it is found anew, what was removed stays counted.
    """
    nodes = {node: dict_of(WAITING) for node in known}
    for node, was in before.items():
        if was["state"] == DONE:
            nodes[node] = was
        elif node in nodes:
            nodes[node] = dict_of(WAITING, removed=was["removed"])
        else:
            nodes[node] = {**was, "state": LEFT, "error": sentence("not in CACHE_URL any more")}
    return nodes


def dict_of(state: str, *, removed: int = 0) -> NodeJSON:
    return {"state": state, "found": removed, "removed": removed, "kinds": {}, "error": ""}


def totals(nodes: Iterable[NodeJSON], *, dry_run: bool = False) -> Totals:
    """`failed` are the keys that were found and may still be there.

    A key that went by itself between listing and removal was found, not removed, and is no failure.
    """
    rows = list(nodes)
    failed = [row for row in rows if row["state"] == FAILED]
    return {
        "found": sum(row["found"] for row in rows),
        "removed": sum(row["removed"] for row in rows),
        "failed": 0 if dry_run else sum(row["found"] - row["removed"] for row in failed),
        "nodes_failed": len(failed),
    }


def errors(nodes: Mapping[str, NodeJSON]) -> str:
    return "; ".join(f"{node}: {row['error']}" for node, row in sorted(nodes.items()) if row["state"] == FAILED)


def by_kind(nodes: Iterable[NodeJSON]) -> dict[str, int]:
    """Keys found by kind over all nodes, the most first."""
    found: dict[str, int] = {}
    for row in nodes:
        for kind, count in row["kinds"].items():
            found[kind] = found.get(kind, 0) + count
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))
