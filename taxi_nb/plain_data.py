"""Dataclasses as JSON, and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def to_json(value: Any, **options: Any) -> str:
    """Return JSON of dataclasses and what holds them; the options are those of `json.dumps`.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Place:
    ...     zones: tuple[int, ...]
    >>> to_json({"place": Place((132, 138))})
    '{"place": {"zones": [132, 138]}}'
    """
    return json.dumps(value, default=_plain, **options)


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
