"""References to secrets, ``env:NAME``, and the values that the environment has for them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# Anything shorter would be found in texts that have nothing to do with it.
_SHORTEST = 4


class SecretError(ValueError):
    """A secret that is missing, or in a place where others can read it; never quotes the value."""


def variable_of(value: Any) -> str | None:
    """Return NAME where a value is ``env:NAME``, else None."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def secret_variables(value: Any) -> Iterator[str]:
    """Yield the variables that parameters name as ``env:NAME``, however deep."""
    if (variable := variable_of(value)) is not None:
        yield variable
    elif isinstance(value, Mapping):
        yield from secret_variables(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_variables(item)


def value_of(variable: str) -> str:
    """Return what a variable holds, or raise a `SecretError` if that is nothing or too short."""
    value = os.environ.get(variable, "")
    if not value:
        raise SecretError(
            f"the environment variable {variable} is not set, and a parameter says env:{variable}"
        )
    if len(value.strip()) < _SHORTEST:
        raise SecretError(
            f"the environment variable {variable} must hold {_SHORTEST} characters or more: "
            "what is shorter cannot be hidden in texts"
        )
    return value
