"""Parts of months, worked on by the workers of a Dask scheduler: the same cuts, the same order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from taxi_nb.tracking.environment import installed_versions
from taxi_nb.tracking.inputs import used_data
from taxi_nb.trips._month_reader import MonthReader, ReadMonth, counted
from taxi_nb.trips.cleaning import CheckedRecords, Cleaning
from taxi_nb.trips.errors import BrokenFileError, TripsError
from taxi_nb.trips.month_counter import MonthCounter, PartCounter
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.origin import MonthFile
from taxi_nb.trips.reading import PART_BATCH_ROWS
from taxi_nb.trips.sources import Source

T = TypeVar("T")

_SECONDS_TO_ANSWER = 10
# What decides the bits of a result.
_PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "xgboost-cpu")

# The months that a worker has at hand.
_HELD: dict[tuple[str, str], MonthContent] = {}
_MOST_HELD = 3
_FETCHING = Lock()


class Look(NamedTuple):
    """A month's file as a worker finds it."""

    path: str
    sha256: str
    size: int
    parts: list[list[int]]
    synthetic: bool


class Task(NamedTuple):
    """What a worker has to know to read a month."""

    place: Source
    # A name for this time through the months.
    loop: str
    taxi: str
    month: str
    rules: Cleaning
    engine: str


class Part(NamedTuple):
    """A part of a month, which any machine of the cluster can read."""

    task: Task
    look: Look
    row_groups: list[int]

    def read(self, work: Callable[[Iterator[CheckedRecords]], T]) -> tuple[T, PartCounter]:
        """Do some work on the part's records; BrokenFileError if they are not those looked at."""
        task, content = self.task, _content(self.task)
        if content.size != self.look.size:
            raise BrokenFileError(f"{self.look.path} is not the same on all workers")
        reader = MonthReader(content, task.taxi, task.month, task.rules, task.engine, is_part=True)
        result = work(reader.checked(PART_BATCH_ROWS, self.row_groups))
        content.check_unchanged()
        return result, reader.counter.part(self.row_groups[0])


def on_workers(
    scheduler: str,
    place: Source,
    taxi: str,
    months: Sequence[str],
    rules: Cleaning,
    engine: str,
    work_of: Callable[[int], Callable[[Iterator[CheckedRecords]], T]],
) -> Iterator[tuple[Part, T] | ReadMonth]:
    """Yield a month's parts in their order with their results, then what was read; for each month.

    A worker that is lost costs its parts, which others do again. TripsError if the scheduler
    cannot be used, or if its workers would compute something else.
    """
    with connected(scheduler) as client:
        loop, done = uuid4().hex, 0
        tasks = [Task(place, loop, taxi, month, rules, engine) for month in months]
        looks = [client.submit(_look, task, pure=False) for task in tasks]
        for task, looking in zip(tasks, looks, strict=True):
            look = looking.result()
            counter = MonthCounter(task.month)
            parts = [Part(task, look, row_groups) for row_groups in look.parts]
            results = [
                client.submit(part.read, work_of(number), pure=False)
                for number, part in enumerate(parts, done)
            ]
            done += len(parts)
            for part, future in zip(parts, results, strict=True):
                result, counts = future.result()
                counter.take(part.row_groups[0], counts)
                yield part, result
            yield _finished(task, look, counter)


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """Give a client of a scheduler whose workers have this machine's versions."""
    try:
        from distributed import Client
    except ImportError:
        raise TripsError("`scheduler` needs Dask: pip install 'taxi-nb[distributed]'") from None
    try:
        client: Any = Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise TripsError(f"the scheduler {scheduler} cannot be reached: {error}") from None
    with client:
        _require_same_versions(client, scheduler)
        yield client


def _require_same_versions(client: Any, scheduler: str) -> None:
    here = versions()
    there = client.run(versions, on_error="return")
    if not there:
        raise TripsError(f"the scheduler {scheduler} has no workers")
    for worker, found in there.items():
        if isinstance(found, OSError):  # It was lost just now: others do its work.
            continue
        if isinstance(found, Exception):
            raise TripsError(f"the worker {worker} cannot load taxi_nb: {found}")
        for name, version in here.items():
            if found.get(name) != version:
                raise TripsError(
                    f"the worker {worker} has {name} {found.get(name)}, and this machine has "
                    f"{version}: results have to be the same on both"
                )


@cache
def versions() -> dict[str, str]:
    """Return the versions that decide the bits of a result, the code of this package's too."""
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob("*.py")):
        code.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    installed = installed_versions()
    found = {name: installed.get(name, "none") for name in _PACKAGES}
    found["python"] = installed["python"].rpartition(".")[0]
    return {**found, "code of taxi_nb": code.hexdigest()[:12]}


def _look(task: Task) -> Look:
    content = _content(task)
    return Look(content.path, content.sha256, content.size, content.parts(), content.is_synthetic)


def _finished(task: Task, look: Look, counter: MonthCounter) -> ReadMonth:
    counts = counted(counter, look.path, task.rules)
    trips = counter.trips_digest
    used_data(f"{task.taxi} {task.month}", look.path, look.sha256, trips)
    file = MonthFile(task.month, look.path, look.sha256, counts.rows_in, look.size, trips)
    return ReadMonth(file, counts, look.synthetic)


def _content(task: Task) -> MonthContent:
    """Return a month's file, fetched once in a loop and not once for each part."""
    key = (task.loop, task.month)
    with _FETCHING:
        if key not in _HELD:
            while len(_HELD) >= _MOST_HELD:
                del _HELD[next(iter(_HELD))]
            _HELD[key] = task.place.fetch(task.taxi, task.month)
        return _HELD[key]
