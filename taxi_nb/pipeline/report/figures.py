"""Pictures in a notebook's outputs: what they are, and what they are called."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

# The suffix of each kind's file; if an output has several kinds, the first here is shown.
_SUFFIXES = {
    "image/svg+xml": ".svg",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
}
IMAGES = tuple(_SUFFIXES)


@dataclass(frozen=True)
class Figure:
    """A picture; runs are compared by its `key`: the title, numbered where several have it."""

    cell: int
    title: str
    key: str
    kind: str
    data: bytes = field(repr=False)

    @cached_property
    def digest(self) -> str:
        """Return the digest of its bytes."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    @property
    def size(self) -> tuple[int, int] | None:
        """Return the width and height that a PNG's head states, so that a page can leave room."""
        is_png = self.data[:8] == b"\x89PNG\r\n\x1a\n" and len(self.data) >= 24
        return struct.unpack(">II", self.data[16:24]) if is_png else None

    @property
    def file_name(self) -> str:
        """Return its name below ``figures/``."""
        return self.digest + _SUFFIXES[self.kind]


def encoded_image(kind: str, data: str) -> str | None:
    """Return an image in base64; None if it is none."""
    if kind == "image/svg+xml":
        return base64.b64encode(data.encode()).decode()
    encoded = "".join(data.split())
    try:
        base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return encoded


def alt_text(output: Any, kind: str) -> str | None:
    """Return the title that a figure brings along."""
    metadata: Mapping[str, Any] = output.get("metadata", {})
    own = metadata.get(kind, {})
    found = own.get("alt") if isinstance(own, Mapping) else None
    return str(found) if found else None


def decoded_image(kind: str, data: str) -> bytes | None:
    """Return an image's bytes; None if it is none."""
    encoded = encoded_image(kind, data)
    return None if encoded is None else base64.b64decode(encoded)
