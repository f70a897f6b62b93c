"""XGBoost on the workers of a Dask scheduler: each learns from its share of the trips, in step.

Not by `xgboost.dask`: there the scheduler chooses who holds what, so that a model does not come
out the same twice, and when a worker is lost XGBoost ends the others' processes. So it runs in
processes of its own below the workers, one for each share.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing import parent_process
from multiprocessing.synchronize import Event
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from taxi_nb.models.features import PairAndDistance
from taxi_nb.trips.batches import frames
from taxi_nb.trips.cleaning import CheckedRecords
from taxi_nb.trips.errors import TripsError, one_line
from taxi_nb.trips.workers import Part, connected

# Bytes, an estimate: of a worker, of a process below it, of a trip while the matrix is made, and
# of a column in a node's histogram. The last two were measured; no cluster's peak was.
_WORKER, _PROCESS, _TRIP, _COLUMN = 300 << 20, 230 << 20, 80, 16
_DEEP = 20  # As which a tree counts whose depth has no limit.
_SECONDS_BETWEEN_LOOKS, _SECONDS_OF_SILENCE, _TRIES_TO_CONNECT = 2, 1800, 60

# On a worker: what ends those that learn there.
_ENDINGS: list[Event] = []

Counted = Sequence[tuple[Part, int]]
"""Parts of months, and how many trips each has."""


class Settings(NamedTuple):
    """What all learn alike, as `xgboost.train` wants it."""

    features: PairAndDistance
    params: dict[str, Any]
    rounds: int
    max_bin: int | None


class Share(NamedTuple):
    """What one process learns from."""

    number: int
    parts: list[Part]
    rows: int


class Worker(NamedTuple):
    """A worker before anything is learned; without a limit of memory it is 0."""

    address: str
    threads: int
    memory: int
    free_port: int


class LostError(Exception):
    """A process that learns was lost, or others that it needs were."""


def boosted_on_workers(scheduler: str, parts: Counted, settings: Settings) -> tuple[bytearray, int]:
    """Return the model that workers learn from parts, and from how many shares: one for each.

    Those that are left when a worker is lost begin again, once, with the same shares: the model
    is the same. TripsError if memory will not do, or if this fails, too.
    """
    from distributed import Lock

    _require_parameters(settings)
    shares: list[Share] = []
    lost = ""
    for _ in range(2):
        # Two that learn would wait for each other's workers.
        with connected(scheduler) as client, client.as_current(), Lock("taxi-nb learns"):
            found = client.run(_described, on_error="return").values()
            workers = sorted(worker for worker in found if isinstance(worker, Worker))
            shares = shares or _shares(parts, len(workers))
            given = [shares[at :: len(workers)] for at in range(min(len(workers), len(shares)))]
            _require_memory(parts, given, workers, settings, lost)
            try:
                return _in_step(client, given, workers, settings), len(shares)
            except LostError as error:
                lost = one_line(error)
    raise TripsError(
        f"XGBoost was interrupted twice on the workers of {scheduler} and has learned nothing; "
        f"run this again. The last time: {lost}"
    )


def _require_parameters(settings: Settings) -> None:
    """Let XGBoost say here what is wrong with a parameter, before others begin."""
    import xgboost

    row = csr_matrix((1, len(settings.features.pairs_) + 1), dtype=np.float32)
    xgboost.train(settings.params, xgboost.QuantileDMatrix(row, [1.0]), 1)


def _described(dask_worker: Any) -> Worker:
    """Describe a worker, on it; Dask gives `dask_worker` by that name."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = int(probe.getsockname()[1])
    memory = dask_worker.memory_manager.memory_limit or 0
    return Worker(dask_worker.address, dask_worker.state.nthreads, memory, port)


def _shares(parts: Counted, count: int) -> list[Share]:
    """Cut parts, in their order, into as many shares of about as many rows, or fewer."""
    total, before = sum(rows for _, rows in parts), 0
    cut: dict[int, list[tuple[Part, int]]] = {}
    for part, rows in parts:
        if rows:
            cut.setdefault((2 * before + rows) * count // (2 * total), []).append((part, rows))
        before += rows
    return [
        Share(number, [part for part, _ in own], sum(rows for _, rows in own))
        for number, own in enumerate(cut.values())
    ]


def _need(given: Sequence[Sequence[Share]], settings: Settings) -> int:
    """Estimate the bytes of the worker that needs most."""
    depth = settings.params.get("max_depth") or _DEEP
    # Where there are more, few of a full tree's nodes are there.
    nodes = 2**depth if depth < 9 else 200 * (depth - 6)
    columns = len(settings.features.pairs_) + (settings.max_bin or 256)
    fixed = _PROCESS + nodes * columns * _COLUMN
    return _WORKER + max(sum(fixed + share.rows * _TRIP for share in own) for own in given)


def _require_memory(
    parts: Counted,
    given: Sequence[Sequence[Share]],
    workers: Sequence[Worker],
    settings: Settings,
    lost: str,
) -> None:
    need = _need(given, settings)
    room = min((worker.memory for worker in workers if worker.memory), default=0)
    if not room or need <= room:
        return
    counts = range(len(workers) + 1, len(parts) + 1)
    needs = ((count, _need([[one] for one in _shares(parts, count)], settings)) for count in counts)
    enough = next((count for count, less in needs if less <= room), None)
    trips = sum(rows for _, rows in parts)
    raise TripsError(
        (f"after a worker was lost ({lost}) the others are too few: " if lost else "")
        + f"to learn from {trips:,} trips on {len(workers)} workers XGBoost needs about "
        f"{need / 2**30:.1f} GiB on one of them, which may use {room / 2**30:.1f}. "
        + (f"Start {enough} workers of this size" if enough else "More workers will not do: start")
        + (" or larger ones, or take fewer months" if enough else " larger ones")
    )


def _in_step(
    client: Any, given: Sequence[Sequence[Share]], workers: Sequence[Worker], settings: Settings
) -> bytearray:
    """Let all learn at once; each comes to the same model."""
    from distributed import wait
    from distributed.comm import get_address_host

    meeting = (get_address_host(workers[0].address), workers[0].free_port, sum(map(len, given)))
    tasks = {
        worker.address: client.submit(
            *(_learned, worker.threads, own, settings, meeting),
            **{"workers": [worker.address], "pure": False},
        )
        for worker, own in zip(workers, given, strict=False)
    }
    lost: set[str] = set()
    # A task whose worker is lost waits for ever, and so may XGBoost for those that are lost.
    end = partial(client.run, _end, on_error="return")
    try:
        while left := [task for at, task in tasks.items() if at not in lost and not task.done()]:
            with suppress(TimeoutError):
                wait(left, _SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED")
            lost |= {at for at, task in tasks.items() if not task.done()} - set(client.nthreads())
            if lost or any(task.status == "error" for task in tasks.values()):
                end()
    except BaseException:  # It was interrupted, say.
        end()
        raise
    errors = [task.exception() for at, task in tasks.items() if at not in lost]
    # What is wrong with the trips comes before what it did to others.
    for error in sorted(filter(None, errors), key=lambda one: isinstance(one, LostError)):
        raise error
    if lost:
        raise LostError(f"the worker {min(lost)} was lost")
    return bytearray(tasks[workers[0].address].result())


def _learned(
    threads: int, shares: list[Share], settings: Settings, meeting: tuple[str, int, int]
) -> bytearray:
    """Learn from a worker's shares, on it."""
    # A worker below a nanny may have no children else.
    multiprocessing.current_process().daemon = False
    spawn, threads = multiprocessing.get_context("spawn"), max(1, threads // len(shares))
    _ENDINGS.append(ending := spawn.Event())
    try:
        with ProcessPoolExecutor(len(shares), spawn, _end_at, (ending,)) as pool:
            begun = [pool.submit(_boosted, one, settings, meeting, threads) for one in shares]
            return next(one.result() for one in begun)
    except BrokenProcessPool:
        raise LostError(f"a process on {socket.gethostname()} ended; its log may say why") from None
    finally:
        _ENDINGS.remove(ending)


def _end() -> None:
    """End all that learns on a worker."""
    for ending in _ENDINGS:
        ending.set()


def _end_at(ending: Event) -> None:
    """End this process when it is told to, or with the worker."""

    def look() -> None:
        while (worker := parent_process()) and worker.is_alive() and not ending.wait(1):
            pass
        os._exit(1)

    Thread(target=look, daemon=True).start()


def _boosted(
    share: Share, settings: Settings, meeting: tuple[str, int, int], threads: int
) -> bytearray:
    """Learn from a share, in step with those who have the others."""
    import xgboost
    from xgboost.collective import CommunicatorContext
    from xgboost.tracker import RabitTracker

    host, port, count = meeting
    tracker = None
    if share.number == 0:
        tracker = RabitTracker(n_workers=count, host_ip=host, port=port, sortby="task")
        tracker.start()

    class Pages(xgboost.DataIter):
        """The model matrix of the share, page by page."""

        def next(self, input_data: Callable[..., Any]) -> bool:
            page = next(self.left, None)
            if page is not None:
                input_data(data=page[0], label=page[1])
            return page is not None

        def reset(self) -> None:
            self.left = iter(pages)

    group: dict[str, Any] = {"dmlc_tracker_uri": host, "dmlc_tracker_port": port}
    group |= {"dmlc_retry": _TRIES_TO_CONNECT, "dmlc_timeout": _SECONDS_OF_SILENCE}
    try:
        # By their numbers they add up sums in the same order each time.
        with CommunicatorContext(**group, dmlc_task_id=f"{share.number:09}"):
            work = partial(_pages, features=settings.features)
            pages = [page for part in share.parts for page in part.read(work)[0]]
            matrix = xgboost.QuantileDMatrix(Pages(), max_bin=settings.max_bin, nthread=threads)
            pages.clear()
            params = {**settings.params, "nthread": threads}
            model = xgboost.train(params, matrix, settings.rounds).save_raw()
    except xgboost.core.XGBoostError as error:
        raise LostError(one_line(error).partition(" Stack trace")[0]) from None
    if tracker is not None:
        tracker.wait_for()
    return model


def _pages(batches: Iterator[CheckedRecords], features: PairAndDistance) -> list[tuple[Any, Any]]:
    """Make the model matrix, a page for each batch, in the 32 bits that XGBoost cuts it to."""
    return [
        (features.transform(trips).astype(np.float32), trips["duration"].astype(np.float32))
        for trips in frames(batches)
    ]
