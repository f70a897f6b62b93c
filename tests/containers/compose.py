"""What compose.yaml says, its variables put in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taxi_nb.located_yaml import read_located_yaml
from tests.conftest import REPOSITORY

FILE = REPOSITORY / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


class MissingVariableError(KeyError):
    """A variable that must be set is not."""


def services(variables: Mapping[str, str], file: Path = FILE) -> dict[str, Any]:
    """Return the services, as Compose would understand them."""
    found: dict[str, Any] = put_in(read_located_yaml(file).value, variables)["services"]
    return found


def put_in(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into all texts: ``${NAME}``, ``${NAME:-default}``, ``${NAME:?why}``."""
    if isinstance(value, dict):
        return {name: put_in(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [put_in(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def one(found: re.Match[str]) -> str:
        known = variables.get(found["name"], "")
        if not known and found["kind"] == "?":
            raise MissingVariableError(f"{found['name']}: {found['rest']}")
        return known or (found["rest"] or "" if found["kind"] == "-" else "")

    text = _VARIABLE.sub(one, value)
    assert "$" not in text, value
    return text
