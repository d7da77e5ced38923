"""Who guesses passwords has to wait: attempts for one name from one address, and from one address for all names.

Not for one name from everywhere: whoever knows a name could then keep its owner out, on the night when it matters.
Attempts are counted before the password is looked at, so that a hundred at once are no more than one after the other.
While the cache that counts is down each process counts by itself.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from ipaddress import IPv6Address, ip_address, ip_network
from time import time
from typing import Final, cast

from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerMinute

from api_service.services.limit_storage import CacheStorage, Limiter, SharedLimits, wait_for

logger = logging.getLogger(__name__)

# An office behind one address has several people
NAMES_OF_AN_ADDRESS: Final = 6
# What a provider gives to one customer
_IPV6_CUSTOMER: Final = 64

_limits = SharedLimits("login-limits")


def attempt(name: str, address: str) -> float:
    """Counts one; seconds that it has to wait, 0 when its password may be looked at."""
    if not settings.LOGIN_FAILURES:
        return 0.0
    # One after the other: who keeps asking for one name does not use up what others at the same address have
    wait = _charge(_item(1), _person(name, address)) or _charge(_item(NAMES_OF_AN_ADDRESS), _network(address))
    if wait:
        logger.warning("a login from %s has to wait %d s: too many attempts", address, wait)
    return wait


def succeeded(name: str, address: str) -> None:
    """What the person got wrong before does not count any more; what came from the address for other names does."""
    if settings.LOGIN_FAILURES:
        _limits.apply(lambda limiter: limiter.clear(_item(1), _person(name, address)))


def address_of(peer: str, forwarded: str, *, behind_proxy: bool) -> str:
    """Who asks. `forwarded` is X-Forwarded-For: its last entry is the proxy's own word, the others anybody's."""
    last = forwarded.rpartition(",")[2].strip()
    return last if behind_proxy and last else peer


def _item(times: int) -> RateLimitItem:
    return RateLimitItemPerMinute(settings.LOGIN_FAILURES * times, settings.LOGIN_MINUTES, "logins")


def _person(name: str, address: str) -> str:
    """As accounts are told apart: `ﬁ` and `fi` are one name."""
    return _hashed(f"{unicodedata.normalize('NFKC', name).casefold()}\0{_network_text(address)}")


def _network(address: str) -> str:
    return _hashed(_network_text(address))


def _network_text(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        # A socket in the file system has none
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    # As a socket of both kinds shows an IPv4 address: all of them are in one network of IPv6
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network(f"{parsed}/{_IPV6_CUSTOMER}", strict=False))


def _hashed(text: str) -> str:
    """Names are up to 150 characters of any kind, keys are not; and who tried to log in is nobody's to read there."""
    return hashlib.sha256(text.encode()).hexdigest()


def _charge(item: RateLimitItem, who: str) -> float:
    def hit(limiter: Limiter) -> float:
        if limiter.hit(item, who):
            return 0.0
        length = item.get_expiry()
        storage = cast(CacheStorage, limiter.storage)
        before, _, current, _ = storage.get_sliding_window(item.key_for(who), length)
        return max(1.0, wait_for((before, current), time() % length, item.amount, 1, length))

    return _limits.apply(hit)
