"""The fixtures of the whole look-up."""

from tests.migo_fixtures import migo, sandbox, sandbox_server

__all__ = ["migo", "sandbox", "sandbox_server"]
