"""The secrets that this process knows, found in texts and files however they are spelled."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from taxi_nb.secrets._pictures import PICTURE, compressed_texts, decoded, is_picture, without_texts
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
            return PICTURE.sub(self._hide_in_picture, value)
        if isinstance(value, Mapping):
            return {self.hide_in(key): self.hide_in(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.hide_in, value))
        return value

    def found_in(self, content: bytes) -> list[str]:
        """Return the variables whose values a file's content has, or a text in a picture."""
        parts = (content, *compressed_texts(content))
        return [
            variable
            for variable, spellings in self._spellings.items()
            if any(code in part for part in parts for code in _encoded(spellings))
        ]

    def _hide_in_picture(self, found: re.Match[str]) -> str:
        """Return a picture in base64, as displays have it, without texts that say a secret."""
        content = decoded(found[0])
        if not content or not self.found_in(content):
            return found[0]
        return base64.b64encode(without_texts(content, self._codes())).decode()

    def hide_in_file(self, file: Path) -> None:
        """Write a text or a picture again without secrets, if it has any; leave other formats."""
        if not self or not self.found_in(content := file.read_bytes()):
            return
        if is_picture(content):
            file.write_bytes(without_texts(content, self._codes()))
        elif b"\0" not in content:
            hidden = self.hide_in(content.decode("utf-8", "surrogateescape"))
            file.write_bytes(hidden.encode("utf-8", "surrogateescape"))

    def _codes(self) -> set[bytes]:
        return {code for spellings in self._spellings.values() for code in _encoded(spellings)}


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


def _encoded(spellings: set[str]) -> set[bytes]:
    """Return spellings as files have them; the texts of a PNG are Latin-1."""
    found = set()
    for encoding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
        with suppress(UnicodeEncodeError):
            found |= {spelling.encode(encoding) for spelling in spellings}
    return found


def _in_pages(value: str) -> Iterator[str]:
    """Yield a value as HTML has it: libraries differ in whether and how they escape quotes."""
    escaped = html.escape(value, quote=False)
    for double in ('"', "&quot;", "&#34;"):
        for single in ("'", "&#x27;", "&#39;"):
            yield escaped.replace('"', double).replace("'", single)
