"""What protects accounts and browsers: constants of Django, derived from a few settings. Pure.

The policy of each page (CSP) is in `pages.py`.
"""

from __future__ import annotations

from typing import Any, Final

# No name that a proxy in front of us would not have made: see deploy/nginx/cache-worker.conf
_PROXY_HEADER: Final = ("HTTP_X_FORWARDED_PROTO", "https")
_SHORTEST_PASSWORD: Final = 12

ACCOUNTS: Final[dict[str, Any]] = {
    # Memory makes guessing dear on graphics cards; what an older hasher made is made anew at the next login
    "PASSWORD_HASHERS": [
        "django.contrib.auth.hashers.ScryptPasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ],
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
        {
            "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
            "OPTIONS": {"min_length": _SHORTEST_PASSWORD},
        },
        {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
        {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    ],
}


def over_https(hsts_seconds: int) -> dict[str, Any]:
    """Behind a proxy that speaks TLS: nothing goes over plain HTTP, and browsers are told so for `hsts_seconds`."""
    return {
        "SECURE_PROXY_SSL_HEADER": _PROXY_HEADER,
        "SECURE_SSL_REDIRECT": True,
        # Probes and scrapers inside the network speak plain HTTP
        "SECURE_REDIRECT_EXEMPT": [r"^health/", r"^metrics$"],
        "SECURE_HSTS_SECONDS": hsts_seconds,
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": hsts_seconds > 0,
        "SECURE_HSTS_PRELOAD": hsts_seconds > 0,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "LANGUAGE_COOKIE_SECURE": True,
    }


def sessions(hours: float) -> dict[str, Any]:
    """Over so many hours after the login, used or not: a page that refreshes itself would keep one open for ever.

    `Lax`, not `Strict`: a link in an alert has to find who follows it logged in. The cookie of the CSRF token stays
    readable to clients of `POST /api/v1/cache/clear`, which send it back in a header.
    """
    return {
        "SESSION_COOKIE_AGE": round(hours * 3600),
        "SESSION_SAVE_EVERY_REQUEST": False,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "CSRF_COOKIE_SAMESITE": "Lax",
        "LANGUAGE_COOKIE_HTTPONLY": True,
        "LANGUAGE_COOKIE_SAMESITE": "Lax",
    }


def security_config(*, https_only: bool, hsts_seconds: int, session_hours: float) -> dict[str, Any]:
    """All of it, by the names of Django's settings."""
    headers = {
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_CONTENT_TYPE_NOSNIFF": True,
        # Addresses hold RUCs and names of nodes: other sites learn neither
        "SECURE_REFERRER_POLICY": "same-origin",
        "SECURE_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
    }
    return {**ACCOUNTS, **headers, **sessions(session_hours), **(over_https(hsts_seconds) if https_only else {})}
