"""A browser for JupyterLab."""

from tests.browsing import browser

__all__ = ["browser"]
