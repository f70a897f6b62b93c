"""Texts within pictures: a figure's title, author or comment is written into its file."""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Collection, Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
# A text of a picture is a line or two; a compressed one may claim to be anything.
_LONGEST = 1_000_000

# PNG, JPEG, GIF and WebP in base64.
PICTURE = re.compile(r"(?<![A-Za-z0-9+/])(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)[A-Za-z0-9+/\n]{20,}+=*")


def decoded(picture: str) -> bytes:
    """Return a picture's content, or nothing if it is no base64."""
    try:
        return base64.b64decode(picture)
    except binascii.Error:
        return b""


def is_picture(content: bytes) -> bool:
    """Whether a file is a PNG, JPEG, GIF or WebP."""
    return content.startswith((_PNG, b"\xff\xd8\xff", b"GIF8", b"RIFF"))


def compressed_texts(content: bytes) -> Iterator[bytes]:
    """Yield the texts of a PNG that are compressed in it."""
    for kind, data, _ in _chunks(content):
        if kind in (b"zTXt", b"iTXt"):
            yield from _unpacked(data)


def without_texts(content: bytes, codes: Collection[bytes]) -> bytes:
    """Return a picture without texts in which one of `codes` is; other formats get stars there."""
    if content.startswith(_PNG):
        kept = [_PNG]
        for kind, data, whole in _chunks(content):
            texts = (data, *_unpacked(data)) if kind in _TEXTS else ()
            if not any(code in text for code in codes for text in texts):
                kept.append(whole)
        return b"".join(kept)
    for code in codes:
        content = content.replace(code, b"*" * len(code))
    return content


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield a PNG's chunks: kind, data, and the whole of it with length and checksum."""
    place = len(_PNG) if content.startswith(_PNG) else len(content)
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        end = place + 12 + length
        yield content[place + 4 : place + 8], content[place + 8 : end - 4], content[place:end]
        place = end


def _unpacked(data: bytes) -> Iterator[bytes]:
    # After keyword, method and, in an international text, languages; each ends in a zero.
    for found in re.finditer(rb"\x00", data[:300]):
        try:
            yield zlib.decompressobj().decompress(data[found.end() :], _LONGEST)
        except zlib.error:
            continue
