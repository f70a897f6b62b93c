"""Addresses and messages without the secrets that an address may carry."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

# A password may hold an unescaped "/": with a colon before it, all up to the last "@" is secret.
_USER_INFO = r"(?<=://)(?:[^/@\s:]*+:\S*@|[^/\s]*@)"
# Names in a query that go with secrets: X-Amz-Signature, sig, token, api_key.
_SIGNING = re.compile(
    r"(^|[-_])sig$|signature|(?<!page)(?<!page[-_])token$|secret|passw|pwd|credential"
    r"|(^|[-_]|api)key$"
)


def without_credentials(url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    # Only up to the last @, so that time grows with the text.
    head, at, tail = _without_query(url).rpartition("@")
    return re.sub(_USER_INFO, "", head + at) + tail


def has_credentials(text: str) -> bool:
    """Whether a text is an address with a password, a token or a signature in it."""
    scheme, is_address, _ = text.partition("://")
    if not is_address:
        return False
    found = user_info(text)
    # A user alone is no secret, but for the web, where it may be a token.
    if ":" in found or (found and scheme.lower().endswith(("http", "https"))):
        return True
    names = (part.partition("=")[0].lower() for part in _query(text).split("&"))
    return any(_SIGNING.search(name) for name in names)


def hide_secrets(text: str, url: str) -> str:
    """Return a text that may quote `url`, or parts of it, without its secrets."""
    text = text.replace(url, without_credentials(url))
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def cause_of(error: Exception, url: str) -> str:
    """Return an error's kind and message, without the secrets of the URL that it came from."""
    kind = type(error).__name__
    return hide_secrets(f"{kind}: {error}" if str(error) else kind, url)


def variable_without_credentials(name: str) -> str | None:
    """Return an environment variable, its address without credentials; None if it is not set."""
    value = os.environ.get(name)
    return value and without_credentials(value)


def user_info(url: str) -> str:
    """Return the ``user:password@`` of a URL, or nothing."""
    head, at, _ = _without_query(url).rpartition("@")
    found = re.search(_USER_INFO, head + at) if at else None
    return found[0] if found else ""


def is_placeholder_address(url: str) -> bool:
    """Whether what would be secret in an address is a name in brackets: ``//{user}:{pw}@host``."""
    _, _, password = user_info(url)[:-1].partition(":")
    pairs = (part.partition("=") for part in _query(url).split("&"))
    values = [password, *(value for name, _, value in pairs if _SIGNING.search(name.lower()))]
    given = [value for value in values if value]
    stands_for = re.compile(r"\$?\{.*|\$.*|%\(.*|%s|\*+|x+|password|passwd|pass|pw|\.+")
    return bool(given) and all(stands_for.fullmatch(value) for value in given)


def _secrets(url: str) -> Iterable[str]:
    found = user_info(url)
    if found:
        yield found
        _, _, password = found[:-1].partition(":")
        yield from {password, unquote(password)} - {""}
    values = (part.partition("=")[2] for part in _query(url).split("&"))
    yield from {unquote(value) for value in values if len(value) > 3}


def _query(url: str) -> str:
    return url.partition("#")[0].partition("?")[2]


def _without_query(url: str) -> str:
    # The name of a file may hold a #: only addresses of the web have a fragment.
    return re.split("[?]" if url.startswith("sqlite") else "[?#]", url, maxsplit=1)[0]
