"""YAML whose every key and value knows the line it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's plain scalars: `1e-3` is a number, `no` is a word."""


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class YamlError(ValueError):
    """Text that is not YAML, or says one thing twice."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class LocatedYaml:
    """A YAML document's plain value and the line (from 1) of each part of it."""

    value: Any
    lines: dict[Location, int]

    def line(self, location: Location) -> int | None:
        """Return the line of a part, or of the nearest part that holds it."""
        around = (location[:length] for length in range(len(location), -1, -1))
        return next((self.lines[part] for part in around if part in self.lines), None)


def read_located_yaml(path: Path) -> LocatedYaml:
    """Read a YAML file; YamlError, with the line, if it is none or a mapping repeats a key."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise YamlError(f"not UTF-8 text: {error.reason}", None) from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        value = None
        if node is not None:
            _locate(node, (), lines)
            value = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise YamlError(str(error.problem or error.context), line) from None
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(str(error), None) from None
    finally:
        loader.dispose()
    return LocatedYaml(value, lines)


def parse_value(text: str) -> Any:
    """Read one value the way the file would: ``[2021-03]`` is a list of one string."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0], None) from None


def _locate(node: yaml.Node, at: Location, lines: dict[Location, int]) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _locate(item, (*at, index), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            place = (*at, key.value)
            if place in lines:
                raise YamlError(f"the key {key.value!r} is given twice", key.start_mark.line + 1)
            # Where the key stands is what a person looks for, not where its value starts.
            lines[place] = key.start_mark.line + 1
            _locate(item, place, lines)
