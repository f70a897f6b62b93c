"""Dataclasses as plain values that JSON can hold, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return a dataclass as dicts, lists, texts and numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Place:
    ...     zones: tuple[int, ...]
    >>> to_plain(Place((132, 138)))
    {'zones': [132, 138]}
    """
    return json.loads(json.dumps(asdict(value), default=_plain))


def _plain(value: Any) -> Any:
    """Return an array as a list; anything else as Python shows it."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def from_plain(kind: type[T], values: Any) -> T:
    """Make a dataclass again from what `to_plain` returned.

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
