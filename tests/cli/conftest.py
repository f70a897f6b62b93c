"""A browser for the servers that a command starts."""

from tests.browsing import browser

__all__ = ["browser"]
