"""How many rows cleaning took out, month by month: to show, and to store."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import DataclassInstance

TOTAL = "total"
NOT_POSITIVE = "of these, distance of zero or less"


@dataclass(frozen=True)
class MonthCounts:
    """How many rows of one month came in, and how many each rule took out.

    A row counts once, under the first rule that it breaks. Of rows that stay, `not_positive`
    have a distance of zero or less. `days_without` are the month's days, such as
    ``"2021-01-31"``, on which no row that stays begins. Both are None in reports of before they
    were counted.
    """

    month: str
    rows_in: int
    taken_out: Mapping[str, int]
    not_positive: int | None = None
    days_without: tuple[str, ...] | None = None

    @property
    def rows_kept(self) -> int:
        """Rows that keep every rule."""
        return self.rows_in - sum(self.taken_out.values())

    @property
    def gap(self) -> str:
        """Say on which days of the month there is no trip; empty if there is none such."""
        if not self.days_without:
            return ""
        year, _, number = self.month.partition("-")
        days = monthrange(int(year), int(number))[1]
        listed = _ranges([int(day[-2:]) for day in self.days_without])
        return f"no trip on {len(self.days_without)} of the {days} days of {self.month}: {listed}"

    def losses(self, rules: Mapping[str, str]) -> str:
        """Return in one line how many rows each rule took out."""
        return ", ".join(f"{n:,} for: {rules[rule]}" for rule, n in self.taken_out.items() if n)


@dataclass(frozen=True)
class CleaningReport:
    """How many rows came in, how many each rule took out, and how many stay.

    Of rows that stay it counts those with a distance of zero or less, and it names the days of a
    month on which there is no trip.

    Attributes
    ----------
    settings : mapping of str to object
        The fields of `Cleaning`.
    rules : mapping of str to str
        The rules in force, with what each says, in the order they are applied.
    months : tuple of MonthCounts
        The counts of each month, in the order the months were asked for.

    Examples
    --------
    >>> print(CleaningReport({}, {"long": "too long"}, (MonthCounts("2021-01", 9, {"long": 1}),)))
               2021-01    share
    rows in          9  100.00%
    too long         1   11.11%
    rows kept        8   88.89%
    """

    settings: Mapping[str, Any]
    rules: Mapping[str, str]
    months: tuple[MonthCounts, ...]

    @property
    def rows_in(self) -> int:
        """Rows in all files."""
        return sum(month.rows_in for month in self.months)

    @property
    def taken_out(self) -> dict[str, int]:
        """Rows taken out of all months, by the name of the rule."""
        return {rule: sum(month.taken_out[rule] for month in self.months) for rule in self.rules}

    @property
    def rows_kept(self) -> int:
        """Rows that stay."""
        return sum(month.rows_kept for month in self.months)

    @property
    def not_positive(self) -> int | None:
        """Of the rows that stay, those with a distance of zero or less; None if not counted."""
        counted = [m.not_positive for m in self.months if m.not_positive is not None]
        return sum(counted) if len(counted) == len(self.months) else None

    @property
    def gaps(self) -> list[str]:
        """The months that have no trip on some of their days, a sentence each."""
        return [month.gap for month in self.months if month.gap]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict that JSON can hold; `from_plain` reads it."""
        months = [{**known(month), "rows_kept": month.rows_kept} for month in self.months]
        totals = {"rows_in": self.rows_in, "taken_out": self.taken_out, "rows_kept": self.rows_kept}
        return {**asdict(self), "months": months, **totals}

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as a table: months and their total as columns, rules as rows."""
        import pandas as pd

        columns = {month.month: self._column(month) for month in self.months}
        columns[TOTAL] = self._column(self)
        labels = ["rows in", *self.rules.values(), "rows kept"]
        if self.not_positive is not None:
            labels.append(NOT_POSITIVE)
        index = pd.Index(labels, name="cleaning")
        return pd.DataFrame(columns, index=index)

    def __str__(self) -> str:
        table = [["", *self._headings(), "share"], *self._lines()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for label, *cells in table:
            padded = map(str.rjust, cells, widths[1:])
            lines.append("  ".join([label.ljust(widths[0]), *padded]).rstrip())
        return "\n".join([*lines, *self.gaps])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in ["", *self._headings(), "share"])
        body = ""
        for label, *cells in (map(escape, line) for line in self._lines()):
            values = "".join(f'<td style="text-align: right">{cell}</td>' for cell in cells)
            body += f'<tr><th style="text-align: left">{label}</th>{values}</tr>'
        gaps = "".join(f"<p>{escape(gap)}</p>" for gap in self.gaps)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{gaps}"

    def _column(self, counts: MonthCounts | CleaningReport) -> list[int]:
        taken_out = (counts.taken_out[rule] for rule in self.rules)
        kept = [counts.rows_kept]
        if self.not_positive is not None:
            kept.append(counts.not_positive or 0)
        return [counts.rows_in, *taken_out, *kept]

    def _headings(self) -> list[str]:
        months = [month.month for month in self.months]
        return months if len(months) == 1 else [*months, TOTAL]

    def _lines(self) -> list[list[str]]:
        frame, rows = self.to_frame(), self.rows_in
        shares = (f"{count / rows:.2%}" if rows else "" for count in frame[TOTAL])
        counts = frame[self._headings()].itertuples()
        return [
            [label, *(f"{count:,}" for count in row), share]
            for (label, *row), share in zip(counts, shares, strict=True)
        ]


def known(record: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a record that say something: what was stored before has fewer."""
    return {name: value for name, value in asdict(record).items() if value is not None}


def _ranges(days: list[int]) -> str:
    """Return ascending days as text, neighbours as ranges: ``1, 5 to 31``."""
    runs = [
        [day for _, day in run]
        for _, run in groupby(enumerate(days), lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
