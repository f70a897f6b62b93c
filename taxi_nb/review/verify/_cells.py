"""Two executions of one notebook, compared cell by cell: text, structured data, pixels."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from taxi_nb.pipeline.report.executed import ExecutedNotebook, what_varies
from taxi_nb.pipeline.report.figures import IMAGES, decoded_image

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:[eE][-+]?\d+)?")
_SHOWN = 100

Normalise = Callable[[str], str]


@dataclass(frozen=True)
class LeftOut:
    """A cell that declares that its output varies, and what it says of that."""

    cell: int
    what: str


@dataclass
class CellComparison:
    """The differences between two executions, and how many figures and outputs were compared."""

    # Each with its cell, what differs and by how much.
    differences: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    figures: int = 0
    outputs: int = 0


def compare_cells(
    recorded: ExecutedNotebook, again: ExecutedNotebook, normalise: tuple[Normalise, Normalise]
) -> CellComparison:
    """Compare two executions, after `normalise` has replaced names that only one side has."""
    found = CellComparison()
    before, after = recorded.content["cells"], again.content["cells"]
    if len(before) != len(after):
        found.differences.append(f"it has {len(after)} cells, not {len(before)}")
        return found
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        if normalise[0](old["source"]) != normalise[1](new["source"]):
            found.differences.append(f"cell {number}: its source is another")
        elif old["cell_type"] == "code" and (declared := what_varies(old)):
            found.left_out.append(LeftOut(number, declared))
        else:
            _compare_outputs(found, number, _shown(old, normalise[0]), _shown(new, normalise[1]))
    return found


def _compare_outputs(
    found: CellComparison, number: int, before: Sequence[Any], after: Sequence[Any]
) -> None:
    for position, (old, new) in enumerate(zip_longest(before, after), 1):
        place = f"cell {number}" + (f", output {position}" if len(before) > 1 else "")
        if old is None or new is None:
            found.differences.append(f"{place}: {'only now' if old is None else 'no longer there'}")
            continue
        is_figure = any(kind in IMAGES for kind in old)
        found.figures += is_figure
        found.outputs += not is_figure
        if difference := _difference(old, new):
            found.differences.append(f"{place}: {difference}")


def _shown(cell: Mapping[str, Any], normalise: Normalise) -> list[dict[str, Any]]:
    """Return a cell's outputs, kind -> content; each stream is one, as its pieces are chance."""
    streams: dict[str, str] = {}
    shown: list[dict[str, Any]] = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + output["text"]
        elif output["output_type"] == "error":
            shown.append({"error": normalise(f"{output['ename']}: {output['evalue']}")})
        elif output.get("data"):
            shown.append({k: _content(k, v, normalise) for k, v in output["data"].items()})
    printed = [{name: normalise(text)} for name, text in sorted(streams.items())]
    return [*printed, *shown]


def _content(kind: str, content: Any, normalise: Normalise) -> Any:
    if kind in IMAGES and kind != "image/svg+xml":
        return content
    if not isinstance(content, str):
        return _in_all_texts(content, normalise)
    text = normalise(content)
    return _with_numbered_ids(text) if kind in ("text/html", "image/svg+xml") else text


def _in_all_texts(value: Any, normalise: Normalise) -> Any:
    if isinstance(value, str):
        return normalise(value)
    if isinstance(value, Mapping):
        return {key: _in_all_texts(item, normalise) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_all_texts(item, normalise) for item in value]
    return value


def _with_numbered_ids(markup: str) -> str:
    """Name elements in the order they come: pandas and Matplotlib draw ids by chance."""
    ids = re.findall(r"""\bid=["']([^"'\s]+)["']""", markup)
    # An id such as T_1f2e3 is the beginning of others: T_1f2e3_row0_col0.
    roots = list(dict.fromkeys(re.sub(r"_(?:row|col|level)\d.*$", "", name) for name in ids))
    drawn = [name for name in roots if len(name) > 4 and re.search(r"\d", name)]
    for name in sorted(drawn, key=len, reverse=True):
        markup = markup.replace(name, f"id-{roots.index(name)}")
    return markup


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Say how two outputs differ: by pixels, or in the plainest form that differs."""
    if old.keys() != new.keys():
        return f"shown as {', '.join(new)}, not as {', '.join(old)}"
    others = [kind for kind in old if old[kind] != new[kind]]
    if not others:
        return None
    pictures = [kind for kind in others if kind in IMAGES and kind != "image/svg+xml"]
    found = [_pixel_difference(kind, old[kind], new[kind]) for kind in pictures]
    plainness = {"text/plain": 0, "text/html": 2}
    data = sorted(set(others) - set(pictures), key=lambda kind: (plainness.get(kind, 1), kind))
    found += [f"{kind}: {_data_difference(old[kind], new[kind])}" for kind in data[:1]]
    return "; ".join(filter(None, found)) or None


def _pixel_difference(kind: str, old: str, new: str) -> str | None:
    """Compare what pictures show, not how their files are written."""
    import numpy as np

    before, after = _pixels(kind, old), _pixels(kind, new)
    if before is None or after is None:
        return f"{kind}: cannot be decoded, and the bytes are others"
    if before.shape != after.shape:
        sizes = [f"{width} x {height}" for height, width in (before.shape[:2], after.shape[:2])]
        return f"figure of {sizes[1]} pixels, not {sizes[0]}"
    apart = np.abs(before - after).reshape(*before.shape[:2], -1).max(axis=2)
    count = int((apart > 0).sum())
    if not count:
        return None
    most = float(apart.max())
    return f"figure: {count:,} of {apart.size:,} pixels differ, by up to {most:.0%} of their range"


def _pixels(kind: str, data: str) -> Any:
    """Decode a picture to floats from 0 to 1; None if it is none."""
    import numpy as np
    from matplotlib.image import imread

    decoded = decoded_image(kind, data)
    try:
        pixels = imread(io.BytesIO(decoded or b""), format=kind.partition("/")[2])
    except (OSError, ValueError, SyntaxError):
        return None
    return pixels / 255 if pixels.dtype == np.uint8 else pixels.astype(float)


def _data_difference(old: Any, new: Any) -> str:
    if isinstance(old, str) and isinstance(new, str):
        return text_difference(old, new)
    path, before, after = next(_different_items(old, new, ""))
    return f"{path or 'the value'} {before!r} -> {after!r}"


def _different_items(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _different_items(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _different_items(one, other, f"{path}[{index}]")
    elif old != new:
        yield path, old, new


def text_difference(old: str, new: str) -> str:
    """Say how two texts differ: by how much where only numbers do, else the first line."""
    if _NUMBER.sub("#", old) == _NUMBER.sub("#", new):
        pairs = list(zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True))
        numbers = [(a, b) for a, b in pairs if a != b]
        most = max(abs(_float(b) - _float(a)) for a, b in numbers)
        first, second = numbers[0]
        return (
            f"{len(numbers)} of {len(pairs)} numbers differ, by up to {most:.3g}: "
            f"first {first} -> {second}"
        )
    lines = enumerate(zip_longest(old.splitlines(), new.splitlines()), 1)
    others = [(n, a, b) for n, (a, b) in lines if a != b]
    if not others:
        return "line ends differ"
    number, before, after = others[0]
    more = f", and {len(others) - 1} more lines" if len(others) > 1 else ""
    return f"line {number}: {_quoted(before)} -> {_quoted(after)}{more}"


def _float(number: str) -> float:
    return float(number.replace(",", ""))


def _quoted(line: str | None) -> str:
    if line is None:
        return "nothing"
    line = line.strip()
    return repr(line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}...")
