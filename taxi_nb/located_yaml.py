"""YAML 1.2 whose every key and value knows the line it came from, and plain values as YAML.

One strict door: what a file says is what is read, or it is refused with its line. Scalars are
those of the core schema (https://yaml.org/spec/1.2.2/#103-core-schema): `010` is ten, `no` and
`1:30` are texts. Dates are read besides, so that none is taken for a text.
"""

from __future__ import annotations

import io
import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tag import Tag

Location = tuple[Any, ...]

_TYPE = "tag:yaml.org,2002:"
_SCALARS = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<bool>true|True|TRUE|false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
    r"|(?P<timestamp>\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d.*)?)"
    r"|(?P<merge><<)"
)
# No file needs as many; a file of some hundred letters can mean billions by its aliases.
_MOST_NODES = 100_000
_DEEPEST = 50
_TOO_DEEP = f"is nested more than {_DEEPEST} levels deep"
_LARGEST = 10_000_000


class YamlError(ValueError):
    """Text that is not YAML, says one thing twice, or means what cannot be kept."""

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
    """Read a YAML file; OSError if it cannot be read, YamlError, with the line, if it is none."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # Reading a pipe would wait for ever.
        raise YamlError("is not a file" + (": it is a folder" if path.is_dir() else ""), None)
    if found.st_size > _LARGEST:
        raise YamlError(f"is larger than {_LARGEST / 1e6:.0f} MB", None)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        why = "it is UTF-16; save it as UTF-8" if is_utf_16 else error.reason
        line = None if is_utf_16 else content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"not UTF-8 text: {why}", line) from None
    return _located(text)


def parse_value(text: str) -> Any:
    """Read one value the way a file's would be; YamlError if it is none.

    >>> parse_value("[2021-03, 010, no]")
    ['2021-03', 10, 'no']
    """
    return _located(text).value


def written_yaml(value: Any) -> str:
    """Return plain values as YAML that readers of version 1.1, too, read as the same values.

    >>> written_yaml({"day": "2021-02-28", "weights": {1: 0.5}})
    "day: '2021-02-28'\\nweights:\\n  1: 0.5\\n"
    """
    writer: Any = YAML(typ="safe", pure=True)
    text = io.StringIO()
    writer.Resolver, writer.Representer = _Resolver, _Representer
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.dump(value, text)
    return text.getvalue()


class _Resolver(VersionedResolver):
    """The core schema's plain scalars, whatever version a file names."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0]:
            found = _SCALARS.fullmatch(value)
            return Tag(suffix=_TYPE + (found.lastgroup if found and found.lastgroup else "str"))
        return super().resolve(kind, value, (False, True))


class _Representer(SafeRepresenter):
    """Quotes texts but plain words: version 1.1 takes `1:30` and `no` for something else."""

    def represent_str(self, data: Any) -> Any:
        is_word = _WORD.fullmatch(data) and data.lower() not in _NO_WORDS
        return self.represent_scalar(f"{_TYPE}str", data, style=None if is_word else "'")


_Representer.add_representer(str, _Representer.represent_str)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NO_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


class _Scanner(Scanner):
    """Stops where brackets nest too deep: it would look far ahead from each of them first."""

    def fetch_flow_collection_start(self, *arguments: Any, **options: Any) -> None:
        if self.flow_level >= _DEEPEST:
            raise ScannerError(None, None, _TOO_DEEP, self.reader.get_mark())
        super().fetch_flow_collection_start(*arguments, **options)


def _located(text: str) -> LocatedYaml:
    reader = YAML(typ="safe", pure=True)
    reader.Resolver, reader.Scanner = _Resolver, _Scanner
    reader.max_depth = _DEEPEST
    reader.composer.warn_double_anchors = False
    try:
        node = reader.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        too_deep = "maximum depth" in str(error.problem)
        message = _TOO_DEEP if too_deep else str(error.problem or error.context)
        raise YamlError(message, mark.line + 1 if mark else None) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"a letter that no text may hold: #x{error.character:04x}", line) from None
    except (YAMLError, ValueError, AssertionError) as error:
        raise YamlError(str(error).partition("\n")[0], None) from None
    built = _Built()
    value = None if node is None else built.value(node, ())
    return LocatedYaml(value, built.lines)


@dataclass
class _Built:
    """The plain value of a tree of nodes; what an alias names is built anew each time."""

    lines: dict[Location, int] = field(default_factory=dict)
    nodes: int = 0
    # Those that the present one is in: an alias may name one of them.
    around: list[int] = field(default_factory=list)

    def value(self, node: Node, at: Location) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(at, line)
        self.nodes += 1
        if id(node) in self.around:
            raise YamlError("an alias (*) names the value that it stands in", line)
        if self.nodes > _MOST_NODES:
            raise YamlError(f"more than {_MOST_NODES:,} values, those of aliases (*) counted", line)
        if len(self.around) >= _DEEPEST:
            raise YamlError(_TOO_DEEP, line)
        kind = str(node.tag).removeprefix(_TYPE)
        self.around.append(id(node))
        try:
            match node, kind:
                case ScalarNode(), _:
                    return _scalar(kind, node.value, line)
                case SequenceNode(), "seq":
                    return [self.value(item, (*at, i)) for i, item in enumerate(node.value)]
                case MappingNode(), "map":
                    return self._mapping(node, at)
        finally:
            self.around.pop()
        raise YamlError(f"the type {kind} is not known here", line)

    def _mapping(self, node: MappingNode, at: Location) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        merged: list[Node] = []
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            if str(key_node.tag) == f"{_TYPE}merge":
                merged.append(item)
                continue
            if not isinstance(key_node, ScalarNode):
                raise YamlError("a key must be a text or a number, not a list or a mapping", line)
            key = _scalar(str(key_node.tag).removeprefix(_TYPE), key_node.value, line)
            # What equals nothing, itself included, could never be looked up.
            if key != key or not isinstance(key, str | int | float | None):
                raise YamlError(f"a key must be a text or a number, not {key_node.value}", line)
            if key in found:
                raise YamlError(f"the key {key!r} is given twice", line)
            # Where the key stands is what a person looks for, not where its value starts.
            self.lines[(*at, key)] = line
            found[key] = self.value(item, (*at, key))
        for mapping in self._merged(merged, at):
            found = {**mapping, **found}
        return found

    def _merged(self, nodes: list[Node], at: Location) -> Iterator[dict[Any, Any]]:
        """Build what ``<<`` brings in: a mapping, or several, the first before the others."""
        for node in nodes:
            values = self.value(node, (*at, "<<"))
            for mapping in values if isinstance(values, list) else [values]:
                if not isinstance(mapping, dict):
                    line = node.start_mark.line + 1
                    raise YamlError("`<<` takes a mapping or a list of mappings", line)
                yield mapping


def _scalar(kind: str, text: str, line: int) -> Any:
    try:
        match kind:
            case "str" | "merge":
                # JSON writes letters beyond the first 65,536 as two halves.
                return text.encode("utf-16", "surrogatepass").decode("utf-16")
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int":
                number = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
                str(number)  # One of more than 4,300 digits could not be shown or kept.
                return number
            case "float":
                found = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
                if math.isinf(found) and "inf" not in text.lower():
                    raise ValueError("is too large for a number")
                return found
            case "timestamp":
                moment = datetime.fromisoformat(text)
                return moment.date() if len(text) == 10 else moment
    except ValueError as error:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        why = str(error).partition(";")[0]
        if kind == "timestamp":
            why = "is no date; in quotes it is a text"
        elif isinstance(error, UnicodeError):
            why = "has half of a letter (a lone surrogate)"
        raise YamlError(f"{shown}: {why}", line) from None
    raise YamlError(f"the type {kind} is not known here", line)
