"""Metrics over runs, as a line chart in SVG that needs no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from taxi_nb.pipeline.report._pages import number

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 28
MOST_LINES = 8


@dataclass(frozen=True)
class Series:
    """The values of one line, None where a run has none."""

    name: str
    values: tuple[float | None, ...]


def most_recent_series(
    runs: Sequence[Mapping[str, Mapping[str, float]]], metric: str
) -> list[Series]:
    """Return a line for each step that has the metric, those of the last run first.

    `runs` has for each run, oldest first: step name -> metrics.
    """
    names = dict.fromkeys(name for run in reversed(runs) for name in run if metric in run[name])
    found = [Series(name, tuple(run.get(name, {}).get(metric) for run in runs)) for name in names]
    return found[:MOST_LINES]


def line_chart(series: Sequence[Series], labels: Sequence[str], metric: str) -> Markup:
    """Draw lines over runs; each point says its run and value when pointed at."""
    drawn = (v for line in series for v in line.values if v is not None and math.isfinite(v))
    values = list(drawn) or [0.0]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin

    def x(position: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (position / max(1, len(labels) - 1))

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [_grid(low, high, y), _dates(labels)]
    for place, line in enumerate(series):
        known = [(i, v) for i, v in enumerate(line.values) if v is not None]
        points = [(x(i), y(v), labels[i], v) for i, v in known if math.isfinite(v)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in points)
        parts.append(Markup('<g class="line-{}"><polyline points="{}"/>').format(place, path))
        odd = [(i, v) for i, v in known if not math.isfinite(v)]
        parts += [_off_the_scale(x(i), labels[i], line.name, v) for i, v in odd]
        parts += [
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
                px, py, f"{line.name}, {label}: {value:.4g}"
            )
            for px, py, label, value in points
        ]
        parts.append(Markup("</g>"))
    described = f"{metric} of {len(series)} steps over {len(labels)} runs; the table has the values"
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, described, Markup("").join(parts))


def _off_the_scale(x: float, label: str, name: str, value: float) -> Markup:
    """Name a value that has no height, such as NaN, where its run is."""
    shown = number(value)
    y = _TOP + 8 if value > 0 else HEIGHT - _BOTTOM - 4
    text = Markup('<text class="off" x="{:.1f}" y="{}"><title>{}</title>{}</text>')
    return text.format(x, y, f"{name}, {label}: {shown}", shown)


def _grid(low: float, high: float, y: Callable[[float], float]) -> Markup:
    line = Markup('<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}">{}</text>')
    values = [low + (high - low) * step / 4 for step in range(5)]
    return Markup("").join(
        line.format(_LEFT, y(value), WIDTH - _RIGHT, _LEFT - 8, y(value) + 4, f"{value:.3g}")
        for value in values
    )


def _dates(labels: Sequence[str]) -> Markup:
    """Name the first and the last run below the axis."""
    first = Markup('<text class="from" x="{}" y="{}">{}</text>')
    last = Markup('<text x="{}" y="{}">{}</text>') if len(labels) > 1 else Markup("")
    y = HEIGHT - 8
    return first.format(_LEFT, y, labels[0]) + last.format(WIDTH - _RIGHT, y, labels[-1])
