"""A step's matrix: axes, those that go together (`zip`), and what is left out (`exclude`)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taxi_nb.close_names import close_to

ZIP, EXCLUDE = "zip", "exclude"


@dataclass
class Matrix:
    """The parameters that a step is executed with, each combination of them once.

    >>> matrix = Matrix({"model": ["lasso", "ridge"], "alpha": [1, 2], "zip": [["model", "alpha"]]})
    >>> list(matrix.combinations())
    [{'model': 'lasso', 'alpha': 1}, {'model': 'ridge', 'alpha': 2}]
    >>> matrix = Matrix({"model": ["lasso", "ridge"], "exclude": [{"model": "lasso"}]})
    >>> list(matrix.combinations())
    [{'model': 'ridge'}]
    """

    written: Mapping[str, Any]
    axes: dict[str, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.axes = {
            name: values for name, values in self.written.items() if name not in (ZIP, EXCLUDE)
        }

    @property
    def together(self) -> list[list[str]]:
        """The groups of axes that go together, each axis in one of them."""
        groups = self.written.get(ZIP, [])
        taken = {name for group in groups for name in group}
        alone = [[name] for name in self.axes if name not in taken]
        return sorted([*groups, *alone], key=lambda group: list(self.axes).index(group[0]))

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the values of each execution, the last axis changing first."""
        groups = self.together
        rows = [list(zip(*(self.axes[name] for name in group), strict=True)) for group in groups]
        for chosen in itertools.product(*rows):
            values: dict[str, Any] = {}
            for group, row in zip(groups, chosen, strict=True):
                values |= dict(zip(group, row, strict=True))
            ordered = {name: values[name] for name in self.axes}
            if not any(_fits(left_out, ordered) for left_out in self.written.get(EXCLUDE, [])):
                yield ordered

    def mistakes(self) -> Iterator[tuple[tuple[int | str, ...], str]]:
        """Yield what is wrong with `zip` and `exclude`, and where."""
        yield from self._mistakes_of_zip(self.written.get(ZIP, []))
        yield from self._mistakes_of_exclude(self.written.get(EXCLUDE, []))

    def _mistakes_of_zip(self, groups: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:
        if not _is_list_of(groups, list) or not all(_is_list_of(g, str) and g for g in groups):
            yield (ZIP,), "must be a list of lists of names, such as [[model, alpha]]"
            return
        seen: set[str] = set()
        for at, group in enumerate(groups):
            for name in group:
                if name not in self.axes:
                    yield (ZIP, at), self._unknown(name)
                elif name in seen:
                    yield (ZIP, at), f"{name!r} is in two groups"
                seen.add(name)
            lengths = {name: len(self.axes[name]) for name in group if name in self.axes}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
                yield (ZIP, at), f"axes that go together need as many values each: {counts}"

    def _mistakes_of_exclude(self, left_out: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:
        if not _is_list_of(left_out, dict):
            yield (EXCLUDE,), "must be a list of mappings, such as [{model: lasso, alpha: 1}]"
            return
        for at, values in enumerate(left_out):
            for name, value in values.items():
                if name not in self.axes:
                    yield (EXCLUDE, at), self._unknown(name)
                elif not any(_same(value, known) for known in self.axes[name]):
                    known = ", ".join(map(repr, self.axes[name]))
                    yield (EXCLUDE, at, name), f"{value!r} is none of its values: {known}"

    def _unknown(self, name: str) -> str:
        return f"{name!r} is no axis of this matrix{close_to(name, list(self.axes))}"


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, Sequence) and all(isinstance(item, kind) for item in value)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _fits(left_out: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(_same(value, values[name]) for name, value in left_out.items())
