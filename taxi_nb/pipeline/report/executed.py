"""An executed notebook, read once: its cells, its figures, its times."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._notebook_file import BANNER, tags_of
from taxi_nb.pipeline.report.figures import IMAGES, Figure, alt_text, decoded_image

# In bold, as a heading, or before a colon; with a number before it or none.
_CONCLUSION = re.compile(
    r"\A[#>\s\d.)]*(?:(\*\*|__|\*|_)\s*conclusions?\s*[.:]?\s*\1[\s.:—–-]*"
    r"|conclusions?[ \t]*(?:[.:—–]|\n|\Z)\s*)",
    re.IGNORECASE,
)
# A comment by which a cell declares that its outputs vary.
_VARIES = re.compile(r"^\s*#\s*varies:\s*(?P<what>\S.*?)\s*$", re.MULTILINE)


class ExecutedNotebook:
    """A notebook's file of format 4, as papermill writes it; read once, when it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def content(self) -> dict[str, Any]:
        """The notebook, as `notebook_content` returns it."""
        return notebook_content(self.path.read_bytes())

    @cached_property
    def is_readable(self) -> bool:
        """Whether its file is whole; a disk may have kept half of it."""
        try:
            return bool(self.content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Return every picture, in order."""
        found: list[Figure] = []
        counts: Counter[str] = Counter()
        title = self.path.stem
        for number, cell in enumerate(self.content["cells"], start=1):
            title = last_heading(cell) or title
            if not hidden_parts(cell).isdisjoint({"cell", "outputs"}):
                continue  # The pages show none of them.
            for output in cell.get("outputs", []):
                kind = next((kind for kind in IMAGES if kind in output.get("data", {})), None)
                data = kind and decoded_image(kind, output["data"][kind])
                if not kind or not data:
                    continue
                name = alt_text(output, kind) or title
                counts[name] += 1
                key = name if counts[name] == 1 else f"{name} ({counts[name]})"
                found.append(Figure(number, name, key, kind, data))
        return tuple(found)

    @cached_property
    def conclusion(self) -> str | None:
        """Return, as Markdown, what its last word is, if it is called a conclusion.

        That is text that begins so, displayed or written, or what stands below such a heading.
        """
        shown = [
            text
            for cell in self.content["cells"]
            if hidden_parts(cell).isdisjoint({"cell", "outputs"})
            for text in _texts(cell)
        ]
        for place in range(len(shown) - 1, -1, -1):
            said, found = _CONCLUSION.subn("", shown[place])
            if found:
                return (said or " ".join(shown[place + 1 : place + 2])).strip() or None
        return None

    @cached_property
    def started_and_ended(self) -> tuple[datetime, datetime] | None:
        """Return when papermill began and finished, if it says so."""
        return started_and_ended(self.content["metadata"])

    @property
    def python(self) -> str | None:
        """Return the version of Python that its kernel had."""
        return self.content["metadata"].get("language_info", {}).get("version")

    @property
    def language(self) -> str:
        """Return the language of its code, as Pygments calls it."""
        language = self.content["metadata"].get("language_info", {})
        return str(language.get("pygments_lexer") or language.get("name") or "ipython3")


def _texts(cell: Mapping[str, Any]) -> list[str]:
    """Return the Markdown of a cell, written or displayed."""
    if cell["cell_type"] == "markdown":
        return [str(cell["source"])]
    shown = (output.get("data", {}).get("text/markdown") for output in cell.get("outputs", []))
    return [str(text) for text in shown if text]


def notebook_content(file: bytes) -> dict[str, Any]:
    """Return a notebook without papermill's banners, so that cells count as they ran.

    Not read by nbformat, whose import takes longer than all else on a page of reused steps.
    """
    found: dict[str, Any] = json.loads(file)
    found["cells"] = [_joined(cell) for cell in found["cells"] if BANNER not in tags_of(cell)]
    return found


def started_and_ended(metadata: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return when papermill began and finished a notebook or a cell, if it says so."""
    known = metadata.get("papermill", {})
    try:
        started, ended = known["start_time"], known["end_time"]
        return datetime.fromisoformat(started), datetime.fromisoformat(ended)
    except (KeyError, TypeError, ValueError):
        return None


def hidden_parts(cell: Mapping[str, Any]) -> frozenset[str]:
    """Return what its author hides of a cell, by tags or in JupyterLab: cell, code or outputs."""
    metadata = cell.get("metadata") or {}
    tags = metadata.get("tags") or []
    given = {str(tag).replace("_", "-") for tag in tags} if isinstance(tags, list) else set()
    if "remove-cell" in given:
        return frozenset({"cell"})
    lab = metadata.get("jupyter") or {}
    in_lab = lab if isinstance(lab, Mapping) else {}
    found = set()
    if "remove-input" in given or in_lab.get("source_hidden") is True:
        found.add("code" if cell["cell_type"] == "code" else "cell")
    is_folded = in_lab.get("outputs_hidden") is True or metadata.get("collapsed") is True
    if cell.get("outputs") and ("remove-output" in given or is_folded):
        found.add("outputs")
    return frozenset(found)


def what_varies(cell: Mapping[str, Any]) -> str | None:
    """Return what the author of a cell of code says of an output that is never the same.

    That is what follows ``# varies:`` in a line of its own.
    """
    found = _VARIES.search(cell["source"])
    return found["what"] if found else None


def last_heading(cell: Mapping[str, Any]) -> str | None:
    """Return the last heading in a cell of markdown."""
    if cell["cell_type"] != "markdown":
        return None
    found = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", cell["source"], re.MULTILINE)
    return str(found[-1]) if found else None


def joined_streams(outputs: Sequence[Any]) -> list[Any]:
    """Join what a cell printed in pieces, as JupyterLab shows it: pieces are chance."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        is_stream = output["output_type"] == last.get("output_type") == "stream"
        if is_stream and output.get("name") == last.get("name"):
            last["pieces"].append(output["text"])
        else:
            joined.append(type(output)(output))
            if output["output_type"] == "stream":
                joined[-1]["pieces"] = [output["text"]]
    for output in joined:
        if "pieces" in output:
            output["text"] = "".join(output.pop("pieces"))
    return joined


def settled(text: str) -> str:
    """Return what a terminal shows in the end of a text that goes back in its lines.

    >>> settled("1/40\\r40/40\\nab\\bc")
    '40/40\\nac'
    """
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join(map(_settled_line, re.sub(r"\r+\n", "\n", text).split("\n")))


def _settled_line(line: str) -> str:
    shown = ""
    for piece in line.split("\r"):
        typed: list[str] = []
        for letter in piece if "\b" in piece else ():
            if letter != "\b":
                typed.append(letter)
            elif typed:
                typed.pop()
        written = "".join(typed) if "\b" in piece else piece
        # What it does not reach stays.
        shown = written + shown[len(written) :]
    return shown


def _joined(cell: dict[str, Any]) -> dict[str, Any]:
    """Make texts of the lists of lines that a notebook's file has."""
    cell["source"] = _text(cell["source"])
    for output in cell.get("outputs", []):
        if "text" in output:
            output["text"] = _text(output["text"])
        for kind, data in output.get("data", {}).items():
            if not kind.endswith("json"):
                output["data"][kind] = _text(data)
    return cell


def _text(lines: Any) -> str:
    return lines if isinstance(lines, str) else "".join(map(str, lines))
