"""Synthetic months, for work without a network: made when they are first asked for, and kept."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet as pq

from taxi_nb.project import data_dir, part_file, publish
from taxi_nb.trips._made_month import VERSION, make_month
from taxi_nb.trips.arguments import require_count
from taxi_nb.trips.errors import BrokenFileError, write_errors_named
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.sources import month_file_name, read_file

SAMPLE_ROWS = 30_000
"""The records of January 2021 in a sample unless told otherwise."""


@dataclass(frozen=True)
class Sample:
    """Months made from a seed, kept in ``data/sample/``; the same seed makes the same bytes."""

    seed: int
    rows: int = SAMPLE_ROWS

    label = "sample"

    def __post_init__(self) -> None:
        require_count("seed", self.seed, at_least=0)
        require_count("sample_rows", self.rows)

    def fetch(self, taxi: str, month: str) -> MonthContent:
        """Return the month's file, making it first if it is not there yet."""
        stem = month_file_name(taxi, month).removesuffix(".parquet")
        name = f"{stem}_seed{self.seed}_{self.rows}rows_v{VERSION}.parquet"
        path = data_dir() / "sample" / name
        if not path.exists():
            with write_errors_named(path), part_file(path) as part:
                pq.write_table(make_month(taxi, month, self.seed, self.rows), part)
                publish(part, path, replace=False)
        content = read_file(path)
        try:
            content.opened()
        except BrokenFileError as error:
            raise BrokenFileError(f"{error}. Delete it, and it is made again") from None
        return content
