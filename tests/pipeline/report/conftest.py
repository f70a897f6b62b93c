"""A browser, and sites made by real runs for it to look at."""

from tests.browsing import browser, sites, tab

__all__ = ["browser", "sites", "tab"]
