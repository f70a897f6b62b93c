"""The secrets that this process knows, found in texts and files however they are spelled."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from taxi_nb.secrets.references import value_of


class KnownSecrets:
    """Secrets to hide: each variable with all the ways in which its value may be written.

    >>> import os
    >>> os.environ["DOOR_CODE"] = "friend and enter"
    >>> secrets = KnownSecrets()
    >>> door_code = secrets.remember("DOOR_CODE")
    >>> secrets.hide_in({"note": f"spoke {door_code}"})
    {'note': 'spoke [env:DOOR_CODE]'}
    >>> secrets.found_in(b"<b>friend%20and%20enter</b>")
    ['DOOR_CODE']
    """

    def __init__(self) -> None:
        self._spellings: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._spellings)

    def remember(self, variable: str) -> str:
        """Return what an environment variable holds, as `value_of` does; hide it from now on."""
        value = value_of(variable)
        self._spellings.setdefault(variable, set()).update(_spellings(value))
        return value

    def hide_in(self, value: Any) -> Any:
        """Return a text, or anything that JSON can hold, with ``[env:NAME]`` for each secret."""
        if not self:
            return value
        if isinstance(value, str):
            for variable, spellings in self._spellings.items():
                for spelling in sorted(spellings, key=len, reverse=True):
                    value = value.replace(spelling, f"[env:{variable}]")
            return value
        if isinstance(value, Mapping):
            return {self.hide_in(key): self.hide_in(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.hide_in, value))
        return value

    def found_in(self, content: bytes) -> list[str]:
        """Return the variables whose values a file's content has."""
        return [
            variable
            for variable, spellings in self._spellings.items()
            if any(spelling.encode() in content for spelling in spellings)
        ]

    def hide_in_file(self, file: Path) -> None:
        """Write a text file again without secrets, if it has any."""
        if self and self.found_in(content := file.read_bytes()):
            file.write_text(self.hide_in(content.decode("utf-8", "replace")), "utf-8")


# Those of this process, which all guards look for.
KNOWN = KnownSecrets()


def _spellings(value: str) -> Iterator[str]:
    """Yield a value as texts, code, JSON, addresses and pages have it."""
    for text in {value, value.strip()}:
        yield from (text, repr(text)[1:-1], quote(text), quote(text, safe=""), quote_plus(text))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        # A JSON text within JSON, such as a notebook's cell.
        yield json.dumps(json.dumps(text)[1:-1])[1:-1]
        for escaped in _in_pages(text):
            yield from (escaped, json.dumps(escaped)[1:-1])
            yield json.dumps(escaped, ensure_ascii=False)[1:-1]


def _in_pages(value: str) -> Iterator[str]:
    """Yield a value as HTML has it: libraries differ in whether and how they escape quotes."""
    escaped = html.escape(value, quote=False)
    for double in ('"', "&quot;", "&#34;"):
        for single in ("'", "&#x27;", "&#39;"):
            yield escaped.replace('"', double).replace("'", single)
