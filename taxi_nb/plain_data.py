"""Dataclasses and what they hold as strict JSON, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

# What JSON has no form for: keys that are no texts, and numbers that are not finite.
_PAIRS, _NUMBER = "$pairs", "$number"


def to_json(value: Any, **options: Any) -> str:
    """Return JSON of dataclasses and what holds them; the options are those of `json.dumps`.

    NaN and infinity become the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``: strict
    readers refuse them as numbers. `from_plain` makes numbers of them again.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Place:
    ...     zones: tuple[int, ...]
    >>> to_json({"place": Place((132, 138))})
    '{"place": {"zones": [132, 138]}}'
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), **options)


def plain(value: Any) -> Any:
    """Return values as JSON can hold them, so that `restored` gives the same ones again.

    Tuples become lists; a mapping with a key that is no text becomes a list of pairs.

    >>> plain({"weights": {1: 0.5}, "limit": float("inf")})
    {'weights': {'$pairs': [[1, 0.5]]}, 'limit': {'$number': 'inf'}}
    """
    if isinstance(value, Mapping):
        items = [(key, plain(item)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {_PAIRS: [[plain(key), item] for key, item in items]}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: str(value)}
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def restored(value: Any) -> Any:
    """Return the values that `plain` was given, wherever they stand in parsed JSON.

    >>> restored({"weights": {"$pairs": [[1, 0.5]]}})
    {'weights': {1: 0.5}}
    """
    match value:
        case {"$pairs": [*pairs], **rest} if not rest:
            return {_key(key): restored(item) for key, item in pairs}
        case {"$number": str(text), **rest} if not rest:
            return float(text)
        case dict():
            return {key: restored(item) for key, item in value.items()}
        case list():
            return [restored(item) for item in value]
    return value


def _key(value: Any) -> Any:
    made = restored(value)
    return tuple(made) if isinstance(made, list) else made


def shortened(text: str, most: int) -> str:
    """Return a text, of one that is longer than `most` the beginning and how long it is.

    >>> shortened("abc" * 1000, 30)
    'abcabcabcabc… 3,000 characters'
    """
    if len(text) <= most:
        return text
    note = f"… {len(text):,} characters"
    return text[: max(0, most - len(note))] + note


def _finite(value: Any) -> Any:
    """Return a copy for JSON in which numbers that are not finite are texts."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("-Infinity" if value < 0 else "Infinity")
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if value is None or isinstance(value, str | int) else _finite(_plain(value))


def _plain(value: Any) -> Any:
    """Return a dataclass as its fields, an array as a list, anything else as Python shows it."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def from_plain(kind: type[T], values: Any) -> T:
    """Make a dataclass again from what `to_json` wrote.

    Names that the class does not know are left out: a later version may have written them. A
    value that is missing or of another type is a `ValueError`.
    """
    made: T = _validator()(kind).validate_python(values)
    return made


@cache
def _validator() -> Any:
    """Return pydantic's validator of a class, made once for each: that takes milliseconds."""
    from pydantic import TypeAdapter

    return cache(TypeAdapter)
