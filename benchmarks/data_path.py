"""From parquet to a scored model: how long it takes and how much memory, against the usual way.

    .venv/bin/python -m benchmarks.data_path FOLDER

FOLDER holds the TLC's green months 2021-01 and 2021-02. Larger months come from the synthetic
sample, which is made on first use (1.2 GB below ``data/sample/``, a few minutes).

Each figure is a median over processes of their own, started in turns, so that whatever slows
the machine down slows all of them. "Process" is the time of one from start to end, imports and
all, doing its work once; "peak" is the most memory that it held. "Processor" is the time that
all cores together spent on the work, which other programs disturb less. "Seconds" leave imports
out: what takes less than three seconds is done again as long as these last, and the median of the
runs after the first counts; "first time" is the first of them, which has to get its memory from
the system. Files are in the page cache, and their digests are taken each time.
"""

from __future__ import annotations

import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

GREEN = ["2021-01", "2021-02"]
BIG_ROWS = 3_000_000
MONTHS = [f"{2021 + number // 12}-{number % 12 + 1:02}" for number in range(20)]
COLUMNS = ["PULocationID", "DOLocationID", "trip_distance"]
COLUMNS += ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
SECONDS_A_CASE = 3.0
MEMORY_LIMIT = 10**9
ALPHAS = [10.0**power for power in range(-4, 6)]


@dataclass(frozen=True)
class Measured:
    """Medians over processes, and what the first time took in each."""

    firsts: tuple[float, ...]
    seconds: float
    processor: float
    first: float
    first_processor: float
    process: float
    imports: float
    megabytes: float
    result: float

    @property
    def first_time(self) -> Measured:
        """The same, with the first time that the work was done in a process as its seconds."""
        return replace(self, seconds=self.first, processor=self.first_processor)

    @property
    def range_of_firsts(self) -> str:
        """The fastest and the slowest first time."""
        return f"{min(self.firsts):.2f} to {max(self.firsts):.2f}"


# What is measured: each makes the imports and returns a function that does the work.


def _reference_score(folder: str) -> Callable[[], float]:
    from benchmarks.reference import validation_rmse

    return lambda: validation_rmse(*_green_files(folder), "lpep")


def _our_score(model: str) -> Callable[[str], Callable[[], float]]:
    def prepare(folder: str) -> Callable[[], float]:
        import sklearn.metrics  # noqa: F401 - regression_metrics would import it

        from taxi_nb import Cleaning, load_trips, make_model, regression_metrics

        make_model(model)
        # The reference code does not look at the month of a pick-up.
        rules = Cleaning(within_month=False)

        def work() -> float:
            training, validation = (
                load_trips("green", [month], folder, cleaning=rules) for month in GREEN
            )
            fitted = make_model(model).fit(training, training["duration"])
            metrics = regression_metrics(validation["duration"], fitted.predict(validation))
            return metrics["rmse"]

        return work

    return prepare


def _our_statistics_score(folder: str) -> Callable[[], float]:
    from taxi_nb.trips.cleaning import Cleaning

    return _score_by_statistics("green", folder, GREEN[:1], GREEN[1:], Cleaning(within_month=False))


def _reference_features(folder: str) -> Callable[[], float]:
    from benchmarks.reference import load_and_features

    return lambda: float(load_and_features(_big_files(1)[0], "tpep").matrix.shape[0])


def _our_features(folder: str) -> Callable[[], float]:
    import pandas  # noqa: F401 - load_trips would import it

    from taxi_nb import load_trips
    from taxi_nb.models.features import PairAndDistance

    def work() -> float:
        trips = load_trips("yellow", MONTHS[:1], "sample", sample_rows=BIG_ROWS)
        return float(PairAndDistance().fit_transform(trips).shape[0])

    return work


def _reference_big_score(folder: str) -> Callable[[], float]:
    from benchmarks.reference import validation_rmse

    training, validation = _big_files(2)
    return lambda: validation_rmse(training, validation, "tpep")


def _our_big_score(folder: str) -> Callable[[], float]:
    return _score_by_statistics("yellow", "sample", MONTHS[:1], MONTHS[1:2])


def _read_table(folder: str) -> Callable[[], float]:
    import pyarrow.dataset  # noqa: F401 - read_table would import it
    import pyarrow.parquet as pq

    return lambda: float(pq.read_table(_big_files(7), columns=COLUMNS).num_rows)


def _decode_alone(folder: str) -> Callable[[], float]:
    """Decode the columns of the same files as the loader does, on all cores, and drop them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from taxi_nb.trips._footer import Footer
    from taxi_nb.trips.engines import decoded
    from taxi_nb.trips.month_file import MonthContent
    from taxi_nb.trips.reading import PART_BATCH_ROWS

    def rows_of(path: str, group: int) -> int:
        schema = pq.read_schema(path)
        columns = pa.schema([schema.field(name) for name in COLUMNS])
        content = MonthContent.now(path, Path(path))
        footer = Footer(content, columns.names, [group])
        batches = decoded("pyarrow", content, [group], columns, footer, PART_BATCH_ROWS)
        return sum(map(len, batches))

    def work() -> float:
        groups = [
            (path, group)
            for path in _big_files(7)
            for group in range(pq.read_metadata(path).num_row_groups)
        ]
        with ThreadPoolExecutor(pa.cpu_count()) as workers:
            return float(sum(workers.map(rows_of, *zip(*groups, strict=True))))

    return work


def _digests_alone(folder: str) -> Callable[[], float]:
    import pyarrow as pa

    def digest(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def work() -> float:
        with ThreadPoolExecutor(pa.cpu_count()) as workers:
            return float(len(set(workers.map(digest, _big_files(7)))))

    return work


def _our_20_million(folder: str) -> Callable[[], float]:
    return _fit_by_statistics(MONTHS[:7])


def _our_3_million_limited(folder: str) -> Callable[[], float]:
    return _limited(_fit_by_statistics(MONTHS[:1]))


def _our_60_million_limited(folder: str) -> Callable[[], float]:
    return _limited(_fit_by_statistics(MONTHS))


def _our_path(penalty: str) -> Callable[[str], Callable[[], float]]:
    def prepare(folder: str) -> Callable[[], float]:
        from taxi_nb.models.linear import GroupLasso, GroupRidge
        from taxi_nb.training.pair_statistics import pair_statistics
        from taxi_nb.trips.loading import iter_trips

        batches = iter_trips("yellow", MONTHS[:1], "sample", sample_rows=BIG_ROWS)
        kept = pair_statistics(batches)
        model = {"ridge": GroupRidge, "lasso": GroupLasso}[penalty]().fit_statistics(kept)
        return lambda: float(len(model.path(ALPHAS)))

    return prepare


def _score_by_statistics(
    taxi: Any, source: str, training: list[str], validation: list[str], cleaning: Any = None
) -> Callable[[], float]:
    from taxi_nb.models.group_solutions import solve_ridge
    from taxi_nb.training.pair_statistics import pair_statistics
    from taxi_nb.trips.loading import iter_trips

    def work() -> float:
        of_months = (
            pair_statistics(
                iter_trips(taxi, months, source, cleaning=cleaning, sample_rows=BIG_ROWS)
            )
            for months in (training, validation)
        )
        return solve_ridge(next(of_months), alpha=0).rmse(next(of_months))

    return work


def _fit_by_statistics(months: list[str]) -> Callable[[], float]:
    """Load, features, exact fit, and the score on the months themselves."""
    from taxi_nb.models.group_solutions import solve_ridge
    from taxi_nb.training.pair_statistics import pair_statistics
    from taxi_nb.trips.loading import iter_trips

    def work() -> float:
        batches = iter_trips("yellow", months, "sample", sample_rows=BIG_ROWS)
        kept = pair_statistics(batches)
        return solve_ridge(kept, alpha=0).rmse(kept)

    return work


def _limited(work: Callable[[], float]) -> Callable[[], float]:
    """Let the process map no more than the limit, used or not."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    return work


CASES: dict[str, Callable[[str], Callable[[], float]]] = {
    "reference score": _reference_score,
    "linear-lsqr score": _our_score("linear-lsqr"),
    "linear score": _our_score("linear"),
    "statistics score": _our_statistics_score,
    "reference features": _reference_features,
    "features": _our_features,
    "reference big score": _reference_big_score,
    "big score": _our_big_score,
    "read_table": _read_table,
    "decode alone": _decode_alone,
    "digests alone": _digests_alone,
    "20 million": _our_20_million,
    "3 million, limited": _our_3_million_limited,
    "60 million, limited": _our_60_million_limited,
    "ridge path": _our_path("ridge"),
    "lasso path": _our_path("lasso"),
}


def _green_files(folder: str) -> tuple[str, str]:
    training, validation = (f"{folder}/green_tripdata_{month}.parquet" for month in GREEN)
    return training, validation


def _big_files(count: int) -> list[str]:
    from taxi_nb.trips.sample import Sample

    sample = Sample(42, BIG_ROWS)
    return [sample.fetch("yellow", month).path for month in MONTHS[:count]]


def run_here(case: str, folder: str) -> None:
    """Do one case in this process and print what it took."""
    began = time.perf_counter()
    work = CASES[case](folder)
    imports = time.perf_counter() - began
    runs: list[float] = []
    processor: list[float] = []
    while not runs or sum(runs) + min(runs) < SECONDS_A_CASE:
        forget_digests()
        started, used = time.perf_counter(), time.process_time()
        result = work()
        runs.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    seconds, used = (statistics.median(times[1:] or times) for times in (runs, processor))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    repeated = sum(runs[1:])
    print(json.dumps([seconds, used, runs[0], processor[0], repeated, imports, peak, result]))


def forget_digests() -> None:
    """Let the next run take the digests of its files again, as a new process has to."""
    month_file = sys.modules.get("taxi_nb.trips.month_file")
    if month_file is not None:
        month_file._sha256.cache_clear()


def measure(cases: Sequence[str], folder: str, repeats: int) -> dict[str, Measured]:
    """Run cases in turns, each time in a process of its own, and take medians."""
    runs: dict[str, list[tuple[float, ...]]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name in cases:
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.data_path", folder, "--case", name],
                capture_output=True,
                text=True,
                check=False,
            )
            process = time.perf_counter() - started
            if done.returncode:
                sys.exit(f"{name}: {done.stderr.strip()}")
            *seconds, repeated, imports, megabytes, result = json.loads(done.stdout)
            runs[name].append((*seconds, process - repeated, imports, megabytes, result))
    return {name: _medians(rows) for name, rows in runs.items()}


def _medians(rows: list[tuple[float, ...]]) -> Measured:
    columns = list(zip(*rows, strict=True))
    return Measured(columns[2], *map(statistics.median, columns))


def check_result(found: float, known: float) -> None:
    """Refuse to compare with something that does another thing."""
    if abs(found - known) > 1e-6:
        sys.exit(f"the validation RMSE should be {known}, and is {found}: nothing to compare")


def green_months(folder: str, repeats: int) -> list[list[str]]:
    """Real months, everything."""
    from benchmarks.reference import REAL_RMSE

    cases = ["reference score", "linear-lsqr score", "linear score", "statistics score"]
    found = measure(cases, folder, repeats)
    check_result(found["reference score"].result, REAL_RMSE)
    check_result(found["linear-lsqr score"].result, REAL_RMSE)
    check_result(found["linear score"].result, found["statistics score"].result)
    return [
        _row(found, "reference score", "green months, load to score: reference"),
        _row(found, "linear-lsqr score", "… ours, the same fit", "reference score"),
        _row(found, "linear score", "… ours, the exact fit", "reference score"),
        _row(found, "statistics score", "… ours, exact by statistics", "reference score"),
    ]


def large_month(folder: str, repeats: int) -> list[list[str]]:
    """A month of 3 million rows, up to the matrix."""
    found = measure(["reference features", "features"], folder, repeats)
    return [
        _row(found, "reference features", "3 million rows, load + features: reference"),
        _row(found, "features", "… ours", "reference features"),
    ]


def large_score(folder: str, repeats: int) -> list[list[str]]:
    """A month of 3 million rows to fit, another to score."""
    found = measure(["reference big score", "big score"], folder, repeats)
    return [
        _row(found, "reference big score", "3 + 3 million rows, load to score: reference"),
        _row(found, "big score", "… ours, exact by statistics", "reference big score"),
    ]


def against_reader(folder: str, repeats: int) -> list[list[str]]:
    """Seven months against the speed of the reader."""
    theirs, ours = "read_table", "20 million"
    found = measure([theirs, ours, "decode alone", "digests alone"], folder, repeats)
    first = {name: one.first_time for name, one in found.items()}
    ranges = {name: f"({one.range_of_firsts})" for name, one in found.items()}
    return [
        _row(first, theirs, f"21 million rows, first time: read_table alone {ranges[theirs]}"),
        _row(first, ours, f"… ours, load to score {ranges[ours]}", theirs),
        _row(found, theirs, "21 million rows, again: read_table alone"),
        _row(found, ours, "… ours, load to score", theirs),
        _row(found, "decode alone", "… of which decoding alone"),
        _row(found, "digests alone", "… of which digests alone"),
    ]


def many_months(folder: str, repeats: int) -> list[list[str]]:
    """Months against a limit of memory."""
    found = measure(["3 million, limited", "60 million, limited"], folder, repeats)
    return [
        _row(found, "3 million, limited", "3 million rows with 1 GB of memory"),
        _row(found, "60 million, limited", "60 million rows with 1 GB of memory"),
    ]


def alphas(folder: str, repeats: int) -> list[list[str]]:
    """Ten alphas after the scan."""
    found = measure(["ridge path", "lasso path"], folder, repeats)
    return [
        _row(found, "ridge path", "ten alphas of ridge, after the scan"),
        _row(found, "lasso path", "ten alphas of lasso, after the scan"),
    ]


PARTS = {
    part.__name__: part
    for part in (green_months, large_month, large_score, against_reader, many_months, alphas)
}


def main(
    folder: str,
    repeats: int = 5,
    part: str = "",
    case: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print the table, or one PART of it."""
    if case:
        run_here(case, folder)
        return
    if part and part not in PARTS:
        sys.exit(f"--part must be one of {', '.join(PARTS)}, got: {part}")
    # In a process of its own: the peak of a child is never below what its parent held.
    with ProcessPoolExecutor(1) as maker:
        maker.submit(_big_files, len(MONTHS)).result()
    for name in [part] if part else PARTS:
        print_table(PARTS[name](folder, repeats))


def _row(found: dict[str, Measured], name: str, label: str, against: str = "") -> list[str]:
    ours = found[name]
    ratios = ["", "", ""]
    if against:
        theirs = found[against]
        ratios = [
            f"{theirs.seconds / ours.seconds:.1f}x",
            f"{theirs.process / ours.process:.1f}x",
            f"1/{theirs.megabytes / ours.megabytes:.1f}",
        ]
    return [
        label,
        f"{ours.seconds:.3f}",
        ratios[0],
        f"{ours.processor:.2f}",
        f"{ours.process:.2f}",
        ratios[1],
        f"{ours.megabytes:.0f}",
        ratios[2],
    ]


def print_table(rows: list[list[str]]) -> None:
    """Print rows under the table's heading."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "seconds", "", "processor (s)", "process (s)", "", "peak (MB)", "")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
