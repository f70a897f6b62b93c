"""A pipeline file with one more step; everything else in it stays to the letter."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.error import YAMLError

from taxi_nb.located_yaml import YamlError, parse_value
from taxi_nb.pipeline.pipeline_file import NOTEBOOKS, notebook_path
from taxi_nb.project import path_within, read_regular

_DEFAULT = "params/default.yaml"


class AdoptionError(ValueError):
    """A notebook that cannot become a step as it was asked for; the message says why."""


@dataclass(frozen=True)
class PipelineText:
    """A pipeline file as a person wrote it."""

    path: Path
    shown: str
    before: bytes | None  # None: there is no such file yet.
    text: str
    value: Mapping[str, Any]

    @classmethod
    def read(cls, root: Path, given: Path | None) -> PipelineText:
        """Read a file, or that of a project, which need not be there; AdoptionError if it is none.

        That is ``params/default.yaml``, or the only one in ``params/``.
        """
        path = given or _file_of(root)
        shown = path_within(root, path)
        if not path.is_file():
            if given:
                raise AdoptionError(f"there is no pipeline file {shown}")
            return cls(path, shown, None, "", {})
        try:
            before = read_regular(path)
            text = before.decode()
            value = parse_value(text.removeprefix("\ufeff"))
        except OSError as error:
            raise AdoptionError(f"{shown} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise AdoptionError(f"{shown} is not UTF-8") from None
        except YamlError as error:
            raise AdoptionError(f"{shown}{f':{error.line}' * bool(error.line)}: {error}") from None
        if not isinstance(value, dict | None):
            raise AdoptionError(f"{shown} has no list `steps` that a step could be added to")
        return cls(path, shown, before, text, value or {})

    @property
    def params(self) -> Mapping[str, Any]:
        """What it gives to every notebook that has such a name."""
        params = self.value.get("params")
        return params if isinstance(params, dict) else {}

    def with_step(self, notebook: Path, root: Path) -> bytes:
        """Return the file with a step more; as it is, if the notebook is one of its steps."""
        steps = self.value.get("steps") or ()
        forms = [one for one in steps if isinstance(one, dict) and "notebook" in one]
        for form in forms:
            path = notebook_path(root, str(form["notebook"]))
            if path.with_suffix("") == notebook.with_suffix("") and self.before is not None:
                return self.before
        for form in forms:
            if notebook.stem == (form.get("name") or Path(str(form["notebook"])).stem):
                raise AdoptionError(f"{self.shown} has a step {notebook.stem} already: give a name")
        place = path_within(root, notebook.with_suffix(""))
        # A name without a folder is one in notebooks/.
        own = notebook.parent == root / NOTEBOOKS
        written = notebook.stem if own else place if "/" in place else f"./{place}"
        try:
            return with_another_step(self.text, written).encode()
        except YamlError as error:
            raise AdoptionError(f"{self.shown}: {error}") from None


def _file_of(root: Path) -> Path:
    files = sorted((root / "params").glob("*.y*ml"))
    if (root / _DEFAULT) in files or not files:
        return root / _DEFAULT
    if len(files) > 1:
        names = ", ".join(path_within(root, file) for file in files)
        raise AdoptionError(f"which pipeline is it to be a step of? Name one of {names}")
    return files[0]


def with_another_step(text: str, notebook: str) -> str:
    """Return a pipeline file's text with a step at the end of `steps`; YamlError if it has none.

    >>> with_another_step("steps:\\n- notebook: 01_a  # first\\n", "02_b")
    'steps:\\n- notebook: 01_a  # first\\n- notebook: 02_b\\n'
    """
    known = parse_value(text.removeprefix("\ufeff"))
    name = notebook if _reads_as(notebook) else json.dumps(notebook)
    if known is None:  # An empty file, or one of remarks.
        return f"{text}steps:\n  - notebook: {name}\n"
    if not isinstance(known, dict) or not isinstance(known.get("steps"), list):
        raise YamlError("has no list `steps` that a step could be added to", None)
    steps = _steps(text)
    if steps.flow_style:
        end = steps.end_mark.index - 1
        before = text[:end].rstrip()
        between = "" if before.endswith("[") else " " if before.endswith(",") else ", "
        longer = f"{before}{between}{{notebook: {name}}}{text[end:]}"
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
        is_right = parse_value(longer.removeprefix("\ufeff")) == wanted
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
    if not isinstance(found, SequenceNode):
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
