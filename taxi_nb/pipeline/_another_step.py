"""A pipeline file with one more step; everything else in it stays to the letter."""

from __future__ import annotations

import io
import json
from typing import Any

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.error import YAMLError

from taxi_nb.located_yaml import YamlError, parse_value


def with_another_step(text: str, notebook: str) -> str:
    """Return a pipeline file's text with a step at the end of `steps`; YamlError if it has none.

    >>> with_another_step("steps:\\n- notebook: 01_a  # first\\n", "02_b")
    'steps:\\n- notebook: 01_a  # first\\n- notebook: 02_b\\n'
    """
    known = parse_value(text)
    name = notebook if _reads_as(notebook) else json.dumps(notebook)
    if known is None:  # An empty file, or one of remarks.
        return f"{text}steps:\n  - notebook: {name}\n"
    if not isinstance(known, dict) or not isinstance(known.get("steps"), list):
        raise YamlError("has no list `steps` that a step could be added to", None)
    steps = _steps(text)
    if steps.flow_style:
        end = steps.end_mark.index - 1
        before = text[:end].rstrip()
        comma = "" if before.endswith((",", "[")) else ","
        longer = f"{before}{comma} {{notebook: {name}}}{text[end:]}"
    else:
        newline = "\r\n" if "\r\n" in text else "\n"
        lines = text.splitlines(keepends=True)
        last = _last_line(steps.value[-1])
        if not lines[last].endswith(("\n", "\r")):
            lines[last] += newline
        indent = " " * steps.start_mark.column
        lines.insert(last + 1, f"{indent}- notebook: {name}{newline}")
        longer = "".join(lines)
    wanted = {**known, "steps": [*known["steps"], {"notebook": notebook}]}
    try:
        is_right = parse_value(longer) == wanted
    except YamlError:
        is_right = False
    if not is_right:
        raise YamlError(f"its `steps` are written so that none can be added: add {notebook}", None)
    return longer


def _reads_as(name: str) -> bool:
    try:
        return bool(parse_value(f"[{name}]") == [name])
    except YamlError:
        return False


def _steps(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    try:
        document = reader.compose(io.StringIO(text))
    except YAMLError as error:
        raise YamlError(str(error).partition("\n")[0], None) from None
    assert isinstance(document, MappingNode)
    found = next(value for key, value in document.value if key.value == "steps")
    if not isinstance(found, SequenceNode) or not found.value:
        raise YamlError("has no list `steps` that a step could be added to", None)
    return found


def _last_line(node: Node) -> int:
    """Return the last line, from 0, that a value's own text is on: comments below are not it."""
    match node:
        case ScalarNode() if node.style in ("|", ">"):
            return int(node.end_mark.line) - 1
        case SequenceNode() | MappingNode() if not node.flow_style and node.value:
            last: Any = node.value[-1]
            return _last_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line)
