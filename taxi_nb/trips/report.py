"""How many rows cleaning took out, month by month: to show, and to store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

TOTAL = "total"


@dataclass(frozen=True)
class MonthCounts:
    """How many rows of one month came in, and how many each rule took out.

    A row counts once, under the first rule that it breaks.
    """

    month: str
    rows_in: int
    taken_out: Mapping[str, int]

    @property
    def rows_kept(self) -> int:
        """Rows that keep every rule."""
        return self.rows_in - sum(self.taken_out.values())

    def losses(self, rules: Mapping[str, str]) -> str:
        """Return in one line how many rows each rule took out."""
        return ", ".join(f"{n:,} for: {rules[rule]}" for rule, n in self.taken_out.items() if n)


@dataclass(frozen=True)
class CleaningReport:
    """How many rows came in, how many each rule took out, and how many stay.

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

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dict that JSON can hold; `from_plain` reads it."""
        months = [{**asdict(month), "rows_kept": month.rows_kept} for month in self.months]
        totals = {"rows_in": self.rows_in, "taken_out": self.taken_out, "rows_kept": self.rows_kept}
        return {**asdict(self), "months": months, **totals}

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as a table: months and their total as columns, rules as rows."""
        import pandas as pd

        columns = {month.month: self._column(month) for month in self.months}
        columns[TOTAL] = self._column(self)
        index = pd.Index(["rows in", *self.rules.values(), "rows kept"], name="cleaning")
        return pd.DataFrame(columns, index=index)

    def __str__(self) -> str:
        table = [["", *self._headings(), "share"], *self._lines()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for label, *cells in table:
            padded = map(str.rjust, cells, widths[1:])
            lines.append("  ".join([label.ljust(widths[0]), *padded]).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in ["", *self._headings(), "share"])
        body = ""
        for label, *cells in (map(escape, line) for line in self._lines()):
            values = "".join(f'<td style="text-align: right">{cell}</td>' for cell in cells)
            body += f'<tr><th style="text-align: left">{label}</th>{values}</tr>'
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _column(self, counts: MonthCounts | CleaningReport) -> list[int]:
        taken_out = (counts.taken_out[rule] for rule in self.rules)
        return [counts.rows_in, *taken_out, counts.rows_kept]

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
