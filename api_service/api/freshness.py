"""How fresh an answer is, in headers: Age (RFC 9111), Cache-Status (RFC 9211), ETag (RFC 9110). Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from api_service.services.freshness import REFRESHING
from api_service.services.outcomes import Lookup, Outcome, Source

NAME: Final = "cache-worker"
STORE: Final = "answer-store"

_TAG = re.compile(r'(?:W/)?"[^"]*"')


def headers(found: Lookup, life: float, *, refresh: bool = False) -> dict[str, str]:
    """`life`: seconds that an answer of this kind holds, for answers of which the cache does not say what is left."""
    if found.source is Source.VALIDATION:
        return {}
    left = life - found.age if found.left is None else found.left
    return {"Age": str(int(found.age)), "Cache-Status": _status(found, int(left), refresh=refresh)}


def _status(found: Lookup, left: int, *, refresh: bool) -> str:
    """Caches are named from the provider's end to the caller's. A `ttl` below 0 is an old answer's."""
    if found.is_stale:
        return _of_old(found, left)
    if found.source is Source.CACHE:
        negative = "; detail=negative" if found.reason is not None else ""
        return f"{NAME}; hit; ttl={left}{negative}"
    if found.source is Source.STORE:
        return f"{STORE}; hit; ttl={left}, {_forwarded(found, refresh=refresh)}"
    return _forwarded(found, refresh=refresh)


def _of_old(found: Lookup, left: int) -> str:
    """Either a newer one is under way, or none could be had: `detail` says why."""
    if found.stale_because == REFRESHING:
        return f"{NAME}; hit; ttl={left}; detail={REFRESHING}"
    first = f"{STORE}; hit; ttl={left}, " if found.source is Source.STORE else ""
    return f"{first}{NAME}; fwd=stale; detail={found.stale_because}"


def _forwarded(found: Lookup, *, refresh: bool) -> str:
    if found.cache is Outcome.OUTAGE:
        return f"{NAME}; fwd=miss; detail=outage"
    return f"{NAME}; fwd={'request' if refresh else 'miss'}; stored"


def etag(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Compared weakly, as RFC 9110 asks for If-None-Match."""
    if if_none_match.strip() == "*":
        return True
    return tag in {found.removeprefix("W/") for found in _TAG.findall(if_none_match)}
