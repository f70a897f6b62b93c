"""Steps and their needs as a picture: SVG that needs no script, in a wide and a narrow form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from taxi_nb.pipeline.record import Status, StepResult
from taxi_nb.pipeline.report._links import Links

# Of more boxes nobody sees anything; more layers would make it too wide, more rows too high.
MOST_BOXES = 40
_MOST_LAYERS, _MOST_ROWS = 4, 10
_WIDTH, _HEIGHT = 208, 52
_GAP = 82  # Between layers: an edge's words stand there.
_ROW = 68
_LANE, _MOST_LANES = 9, 6
_SMALL_WIDTH = 330
# In letters of the two sizes, beside the mark.
_NAME, _WORDS = 22, 27
# Of each state its mark around 0, 0: by shape, not only by colour.
_TICK = '<path class="sign" d="M-4 0L-1 3L4 -3"/>'
_CROSS = '<path class="sign" d="M-3 -3L3 3M3 -3L-3 3"/>'
_BAD_MARK = f'<rect x="-8" y="-8" width="16" height="16" rx="2"/>{_CROSS}'
_MARKS = {
    Status.OK: f'<circle r="8"/>{_TICK}',
    Status.CACHED: f'<circle class="hollow" r="7"/>{_TICK}',
    Status.RUNNING: '<path d="M-6 -8L8 0L-6 8Z"/>',
    Status.PENDING: '<circle class="hollow dashed" r="7"/>',
    Status.SKIPPED: '<path class="hollow" d="M0 -8L8 0L0 8L-8 0Z"/>',
    Status.INTERRUPTED: '<rect x="-8" y="-8" width="16" height="16" rx="2"/>'
    '<path class="sign" d="M0 -4L0 1M0 3.5L0 4.5"/>',
}


@dataclass(frozen=True)
class Box:
    """Steps that are drawn as one: of one matrix, with the same needs and needed by the same."""

    name: str
    steps: tuple[StepResult, ...]
    needs: frozenset[str]
    # The boxes for which steps in it ran, or were skipped.
    because: frozenset[str]

    @property
    def marks(self) -> list[tuple[Status, int]]:
        """The states of its steps, each with how many have it."""
        return list(Counter(step.status for step in self.steps).items())

    @property
    def says(self) -> str:
        """How its steps stand, and why if that is not in other steps."""
        if len(self.steps) > 1:
            return ", ".join(f"{count} {state.in_words}" for state, count in self.marks)
        (step,) = self.steps
        words = step.status.in_words
        if step.reason and step.status not in (Status.CACHED, Status.SKIPPED) and not step.because:
            # Beside the word of how it ended it would seem to contradict that.
            return f"{words}: {'first time' if step.reason == 'never ran' else step.reason}"
        return words

    @property
    def tells_others(self) -> str:
        """Why it makes others run, or keeps them from it."""
        bad = [s.status for s in self.steps if s.status not in _ON_ITS_WAY]
        if bad:
            return bad[0].in_words
        is_done = all(step.status.is_good for step in self.steps)
        return "new result" if is_done else "is to run"


_ON_ITS_WAY = (Status.PENDING, Status.RUNNING, Status.OK, Status.CACHED)


@dataclass(frozen=True)
class Graph:
    """The boxes in the order of the pipeline file, and the edges between them that are drawn."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, steps: Sequence[StepResult]) -> Graph | None:
        """Return it; None where the record does not say what steps need."""
        if not steps or any(step.needs is None for step in steps):
            return None
        boxes = _boxes(steps)
        needs = {box.name: box.needs for box in boxes}
        causes = {box.name: box.because for box in boxes}
        edges = [
            (need, box.name)
            for box in boxes
            for need in sorted(box.needs, key=[*needs].index)
            if not _is_told(need, box, needs, causes)
        ]
        return cls(boxes, tuple(edges))

    @property
    def can_be_drawn(self) -> bool:
        return len(self.boxes) <= MOST_BOXES

    def pictures(self, site: Links) -> list[tuple[str, Markup]]:
        """Draw it for each kind of window: ``wide``, ``narrow`` or, if one suits both, ``any``."""
        layers = self._layers()
        rows = Counter(layers.values())
        rail = _svg(self, site, *self._in_a_column())
        if len(rows) > _MOST_LAYERS or max(rows.values()) > _MOST_ROWS:
            return [("any", rail)]
        return [("wide", _svg(self, site, *self._side_by_side(layers))), ("narrow", rail)]

    def _layers(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for box in self.boxes:  # What it needs comes before it.
            found[box.name] = max((found[need] + 1 for need in box.needs), default=0)
        return found

    def _side_by_side(self, layers: Mapping[str, int]) -> tuple[_Places, _Paths, int]:
        rows: Counter[int] = Counter()
        most = max(Counter(layers.values()).values())
        counts = Counter(layers.values())
        places: _Places = {}
        for box in self.boxes:
            layer = layers[box.name]
            above = (most - counts[layer]) * _ROW / 2
            places[box.name] = (layer * (_WIDTH + _GAP), above + rows[layer] * _ROW)
            rows[layer] += 1
        paths: _Paths = {}
        for source, target in self.edges:
            (x, y), (to_x, to_y) = places[source], places[target]
            x, y, to_y = x + _WIDTH, y + _HEIGHT / 2, to_y + _HEIGHT / 2
            half = (to_x - x) / 2
            path = f"M{x:g} {y:g}C{x + half:g} {y:g} {to_x - half:g} {to_y:g} {to_x:g} {to_y:g}"
            paths[source, target] = (path, x + 8, y - 6)
        return places, paths, _WIDTH

    def _in_a_column(self) -> tuple[_Places, _Paths, int]:
        lanes = _lanes(self)
        left = (max(lanes.values(), default=0) + 2) * _LANE
        places: _Places = {box.name: (left, row * (_ROW + 8)) for row, box in enumerate(self.boxes)}
        paths: _Paths = {}
        for source, target in self.edges:
            y, to_y = (places[name][1] + _HEIGHT / 2 for name in (source, target))
            x = left - (lanes[source] + 1) * _LANE
            path = (
                f"M{left} {y + 10:g}H{x + 6}Q{x} {y + 10:g} {x} {y + 16:g}"
                f"V{to_y - 16:g}Q{x} {to_y - 10:g} {x + 6} {to_y - 10:g}H{left}"
            )
            paths[source, target] = (path, left + 2, y + _HEIGHT / 2 + 15)
        return places, paths, _SMALL_WIDTH - left


# Box -> its left upper corner; edge -> its line, and where its words begin.
_Places = dict[str, tuple[float, float]]
_Paths = dict[tuple[str, str], tuple[str, float, float]]


def _boxes(steps: Sequence[StepResult]) -> tuple[Box, ...]:
    needed_by: dict[str, set[str]] = {step.name: set() for step in steps}
    for step in steps:
        for need in step.needs or ():
            needed_by.setdefault(need, set()).add(step.name)

    def alike(step: StepResult) -> tuple[str, frozenset[str], frozenset[str]]:
        base = step.name.partition("[")[0]
        return base, frozenset(step.needs or ()), frozenset(needed_by[step.name])

    groups = [list(group) for _, group in groupby(steps, alike)]
    bases = Counter(group[0].name.partition("[")[0] for group in groups)
    names: dict[str, str] = {}
    for group in groups:
        base = group[0].name.partition("[")[0]
        is_whole = len(group) > 1 and bases[base] == 1
        names |= dict.fromkeys((s.name for s in group), base if is_whole else group[0].name)
    return tuple(
        Box(
            names[group[0].name],
            tuple(group),
            frozenset(names[n] for step in group for n in step.needs or () if n in names),
            frozenset(names[n] for step in group for n in step.because if n in names),
        )
        for group in groups
    )


def _is_told(
    need: str, box: Box, needs: Mapping[str, Iterable[str]], causes: Mapping[str, Iterable[str]]
) -> bool:
    """Whether other edges say it already; why something ran only edges that say why."""
    known = causes if need in box.because else needs
    waiting = [name for name in known[box.name] if name != need]
    seen = set(waiting)
    while waiting:
        for name in known.get(waiting.pop(), ()):
            if name == need:
                return True
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def _lanes(graph: Graph) -> dict[str, int]:
    """Give the edges of a box a lane that is free as far as they go."""
    rows = {box.name: row for row, box in enumerate(graph.boxes)}
    last: dict[str, int] = {}
    for source, target in graph.edges:
        last[source] = max(last.get(source, 0), rows[target])
    free_from: list[int] = []
    found: dict[str, int] = {}
    for name in sorted(last, key=lambda name: rows[name]):
        lane = next((i for i, row in enumerate(free_from) if row <= rows[name]), len(free_from))
        if lane == len(free_from):
            free_from.append(0)
        free_from[lane] = last[name]
        found[name] = min(lane, _MOST_LANES - 1)
    return found


def _svg(graph: Graph, site: Links, places: _Places, paths: _Paths, width: int) -> Markup:
    boxes = {box.name: box for box in graph.boxes}
    total = max(x for x, _ in places.values()) + width + 2
    height = max(y for _, y in places.values()) + _HEIGHT + 2
    # Those that say why lie above the others.
    edges = sorted(graph.edges, key=lambda edge: edge[0] in boxes[edge[1]].because)
    parts = []
    for source, target in edges:
        path, *_ = paths[source, target]
        kind = _edge_kind(boxes[source], boxes[target])
        parts.append(Markup('<path class="{}" d="{}"/>').format(kind, path))
    told: dict[str, tuple[str, float, float]] = {}
    for source, target in edges:
        if source in boxes[target].because:
            told[source] = (_edge_kind(boxes[source], boxes[target]), *paths[source, target][1:])
    label = Markup('<text class="label {}" x="{:g}" y="{:g}">{}</text>')
    for source, (kind, x, y) in told.items():
        parts.append(label.format(kind, x, y, boxes[source].tells_others))
    parts += [_drawn(box, site, *places[box.name], width) for box in graph.boxes]
    described = f"{len(graph.boxes)} boxes of steps and what each needs; the list below has it all"
    return Markup(
        '<svg class="graph" role="group" width="{0:g}" height="{1:g}" '
        'viewBox="-1 -1 {0:g} {1:g}" aria-label="{2}">{3}</svg>'
    ).format(total, height, described, Markup("").join(parts))


def _edge_kind(source: Box, target: Box) -> str:
    if source.name not in target.because:
        return "edge"
    return "edge why" if source.tells_others in ("new result", "is to run") else "edge why bad"


def _drawn(box: Box, site: Links, x: float, y: float, width: int) -> Markup:
    reasons = [
        f"{s.name}: {s.status.in_words}" + (f", {s.reason}" if s.reason else "")
        for s in box.steps[:20]
    ]
    count = f" ×{len(box.steps)}" if len(box.steps) > 1 else ""
    wider = (width - _WIDTH) // 8
    inner = Markup(
        '<title>{}</title><rect class="box" width="{}" height="{}" rx="6"/>{}'
        '<text class="name" x="34" y="22">{}</text><text class="says" x="34" y="40">{}</text>'
    ).format(
        "\n".join(reasons),
        width,
        _HEIGHT,
        _mark(box),
        _cut(box.name, _NAME + wider - len(count)) + count,
        _cut(box.says, _WORDS + wider),
    )
    place = site.page(box.steps[0].name) if len(box.steps) == 1 else "#steps"
    return Markup('<a href="{}"><g transform="translate({:g} {:g})">{}</g></a>').format(
        place, x, y, inner
    )


def _mark(box: Box) -> Markup:
    """Draw the state that asks for most attention."""
    worst = max((state for state, _ in box.marks), key=_attention)
    drawn = Markup(_MARKS.get(worst, _BAD_MARK))  # noqa: S704 - our own
    return Markup('<g class="mark {}" transform="translate(18 18)">{}</g>').format(worst, drawn)


def _attention(state: Status) -> int:
    calm = (Status.CACHED, Status.OK, Status.PENDING, Status.SKIPPED, Status.RUNNING)
    return calm.index(state) if state in calm else len(calm)


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
