"""Names of cache keys: pure. A key of ours is `service:kind_identifier`, e.g. `migo:ruc_20100038146`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from api_service.sentences import sentence

MAX_KEY_BYTES = 250  # Memcached's limit, with Django's prefix counted
HASH_LENGTH = 32
LONGEST_PLAIN_NAME = 20  # random identifiers are longer

OTHER = "other"  # of a key without a kind
# Longest first: "tipo_cambio_2026-01-28" is not a "tipo"
KINDS = ("representantes", "tipo_cambio", "invalid", "ruc", "dni")

_SAFE = re.compile(r"[!-~]+")
_UNSAFE_CHARACTER = re.compile(r"[^!-~]")
_ENDS_IN_HASH = re.compile(rf"~[0-9a-f]{{{HASH_LENGTH}}}\Z")
_VERSION = re.compile(r"\A:[0-9]+:")
_PART = re.compile(r"[^:_./-]+")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


def normalize(key: str, prefix_length: int = 0) -> str:
    """`key` in printable ASCII without spaces, at most 250 bytes with the prefix.

    A key that had to change ends in a hash of the original, and so does one that already looks like that: two
    different keys never meet.
    """
    room = MAX_KEY_BYTES - prefix_length
    if len(key) <= room and _SAFE.fullmatch(key) and not _ENDS_IN_HASH.search(key):
        return key
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=HASH_LENGTH // 2).hexdigest()
    # A dot, as no service name has one: `migo x:1` must not be cleared with the service `migo_x`
    readable = _UNSAFE_CHARACTER.sub(".", key)[: max(0, room - HASH_LENGTH - 1)]
    return f"{readable}~{digest}"


def normalize_all(keys: Sequence[str], prefix_length: int = 0) -> Sequence[str]:
    """`normalize` of each; most often all are as they should be."""
    if all(keys) and are_plain(keys, MAX_KEY_BYTES - prefix_length):
        return keys
    return [normalize(key, prefix_length) for key in keys]


def are_plain(names: Sequence[str], room: int = MAX_KEY_BYTES) -> bool:
    """Whether each is one that `normalize` leaves as it is: a tenth of the time of asking them one by one.

    False where it may be so and has to be asked.
    """
    text = "".join(names)
    plain = text.isascii() and text.isprintable() and " " not in text and "~" not in text
    return plain and max(map(len, names), default=0) <= room


def service_key(service: str, key: str) -> str:
    """`"migo", "ruc_20100038146"` → `"migo:ruc_20100038146"`."""
    check_service(service)
    return f"{service}:{key}"


@lru_cache(maxsize=256)
def check_service(service: str) -> None:
    """Raise ValueError unless `service` can name one: a wrong name must not match another service's keys."""
    if not _SERVICE.fullmatch(service):
        text = sentence("service name %(name)s: use lower-case letters, digits, - and _ (at most 50)")
        raise ValueError(text % {"name": repr(service)})


@dataclass(frozen=True, slots=True)
class KeyParts:
    service: str
    kind: str
    identifier: str


def parse(key: str) -> KeyParts | None:
    """The parts of a key of ours, None for a key that names no service or that `normalize` would never make."""
    service, colon, rest = key.partition(":")
    if not colon or not _SAFE.fullmatch(rest) or not _SERVICE.fullmatch(service) or len(key) > MAX_KEY_BYTES:
        return None
    for kind in KINDS:
        if rest.startswith(kind + "_"):
            return KeyParts(service, kind, rest[len(kind) + 1 :])
    kind, underscore, identifier = rest.partition("_")
    return KeyParts(service, kind[:50], identifier) if underscore else KeyParts(service, OTHER, rest)


def foreign_prefix(key: str) -> str:
    """What a foreign key is counted under: its first part, without Django's version number, never a whole long key.

    `:1:session.abc` → `session`. A long key without parts may be a secret, and each would be counted by itself.
    """
    first, *others = _PART.findall(_VERSION.sub("", key, count=1)) or ["(empty)"]
    if not others and len(first) > LONGEST_PLAIN_NAME:
        return "(no prefix)"
    return "".join(character if character.isprintable() else "?" for character in first[:30])
