"""Addresses and messages without the secrets that an address may carry."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

__all__ = ["hide_secrets", "user_info", "without_credentials"]

# A password may hold an unescaped "/": with a colon before it, all up to the last "@" is secret.
_USER_INFO = r"(?<=://)(?:[^/@\s]*:\S*@|[^/\s]*@)"


def without_credentials(url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    return re.sub(_USER_INFO, "", _without_query(url))


def hide_secrets(text: str, url: str) -> str:
    """Return a text that may quote `url`, or parts of it, without its secrets."""
    text = text.replace(url, without_credentials(url))
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def variable_without_credentials(name: str) -> str | None:
    """Return an environment variable, its address without credentials; None if it is not set."""
    value = os.environ.get(name)
    return value and without_credentials(value)


def user_info(url: str) -> str:
    """Return the ``user:password@`` of a URL, or nothing."""
    found = re.search(_USER_INFO, _without_query(url))
    return found[0] if found else ""


def _secrets(url: str) -> Iterable[str]:
    found = user_info(url)
    if found:
        yield found
        _, _, password = found[:-1].partition(":")
        yield from {password, unquote(password)} - {""}
    values = (part.partition("=")[2] for part in urlsplit(url).query.split("&"))
    yield from {unquote(value) for value in values if len(value) > 3}


def _without_query(url: str) -> str:
    return re.split(r"[?#]", url, maxsplit=1)[0]
