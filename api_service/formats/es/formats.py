"""Spanish as written in Peru; what is not here is that of Django's own Spanish."""

from __future__ import annotations

DECIMAL_SEPARATOR = "."
THOUSAND_SEPARATOR = ","
