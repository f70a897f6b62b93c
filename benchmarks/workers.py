"""Months read by Dask's workers, of 1 GiB each: how quick, and whether the numbers are the same.

    python -m benchmarks.workers [--months 8] [--rows 3000000] [--turns 3] [--model xgboost]

Synthetic yellow months of so many records each, made on first use below ``data/sample/``.
Statistics of all trips are taken by this machine's cores, by one worker, and by two, in turns;
then by two of which one is killed in the middle. Each time they have to be the same bits.

With `--model xgboost` the months are learned from instead, and one more validates: by this
machine, by one worker of 2 GiB, and by two. A worker's memory is that of its processes together.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from taxi_nb import iter_trips
from taxi_nb.training.pair_statistics import pair_statistics

ROWS = 3_000_000
TURNS = 3


def start(stack: ExitStack, file: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start one of Dask's programs; it ends with the stack."""
    common = ("--scheduler-file", str(file), "--no-dashboard")
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{program}", *common, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def cluster(
    stack: ExitStack, workers: int, memory: str = "1GiB"
) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """Start a scheduler and workers; return its address, and them."""
    from distributed import Client

    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scheduler.json"
    start(stack, file, "dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    while not (file.exists() and file.read_text().endswith("}")):
        time.sleep(0.1)
    limits = ("--nthreads", "1", "--memory-limit", memory, "--no-nanny")
    begun = [start(stack, file, "dask_worker", *limits) for _ in range(workers)]
    address = str(json.loads(file.read_text())["address"])
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
    return address, begun


def take(months: list[str], scheduler: str | None, rows: int) -> tuple[float, str]:
    """Return the seconds that the statistics take, and their digest."""
    started = time.perf_counter()
    batches = iter_trips("yellow", months, "sample", sample_rows=rows, scheduler=scheduler)
    found = pair_statistics(batches)
    parts = (found.groups, found.n, found.mean_x, found.mean_y)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts))
    digest.update(repr((found.xx, found.xy, found.yy, batches.provenance.digest)).encode())
    return time.perf_counter() - started, digest.hexdigest()


@contextmanager
def peaks(processes: list[int]) -> Iterator[list[int]]:
    """Give the most bytes that each process held at once, with those below it."""
    found, over = [0] * len(processes), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for at, process in enumerate(processes):
                with suppress(psutil.NoSuchProcess):
                    below = psutil.Process(process).children(recursive=True)
                    all_of_it = sum(one.memory_info().rss for one in below)
                    all_of_it += psutil.Process(process).memory_info().rss
                    found[at] = max(found[at], all_of_it)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()


LEARN = """
import hashlib, json, sys
from taxi_nb import load_trips, train
model, rows, scheduler, *months = json.loads(sys.argv[1])
training, validation = (
    load_trips("yellow", few, "sample", sample_rows=rows, max_trips=100_000, scheduler=scheduler)
    for few in (months[:-1], months[-1:])
)
result = train(model, training, validation)
booster = hashlib.sha256(result.estimator[-1].get_booster().save_raw()).hexdigest()
print(json.dumps([result.metrics["fit_seconds"], result.metrics["valid_rmse"], booster[:8]]))
"""


def learn(
    model: str, months: list[str], rows: int, scheduler: str | None, workers: list[int]
) -> tuple[float, float, str, int]:
    """Learn in a process of its own; return seconds, RMSE, digest and the peak of who learned."""
    asked = json.dumps([model, rows, scheduler, *months])
    with tempfile.TemporaryDirectory() as store:
        places = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
        places["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = store
        process = subprocess.Popen(
            [sys.executable, "-c", LEARN, asked],
            env={**os.environ, **places},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with peaks(workers or [process.pid]) as found:
            answer = process.communicate()[0]
    seconds, rmse, digest = json.loads(answer.splitlines()[-1])
    return seconds, rmse, digest, max(found)


def learn_in_turns(model: str, months: list[str], rows: int, turns: int) -> None:
    """Print how long each takes to learn, in which memory, and how well."""
    take(months, None, rows)  # Makes the months.
    with ExitStack() as stack:
        places: dict[str, tuple[str | None, list[int]]] = {"this machine": (None, [])}
        for count in (1, 2):
            address, begun = cluster(stack, count, memory="2GiB")
            places[f"{count} workers"] = (address, [worker.pid for worker in begun])
        taken: dict[str, list[tuple[float, float, str, int]]] = {name: [] for name in places}
        for _ in range(turns):
            for name, place in places.items():
                taken[name].append(learn(model, months, rows, *place))
    print(f"{'':<14}  fit in s   peak RSS        RMSE  model")
    for name, found in taken.items():
        seconds = statistics.median(turn[0] for turn in found)
        peak = max(turn[3] for turn in found) / 2**20
        models = ", ".join(sorted({turn[2] for turn in found}))
        print(f"{name:<14} {seconds:9.1f} {peak:6.0f} MiB  {found[0][1]:10.7f}  {models}")
    raise SystemExit(any(len({turn[2] for turn in found}) != 1 for found in taken.values()))


def main() -> None:
    """Print medians and whether all is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=8)
    parser.add_argument("--model", choices=["xgboost"])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--rows", type=int, default=ROWS, help="in a month")
    chosen = parser.parse_args()
    count = chosen.months
    months = [f"{2021 + number // 12}-{number % 12 + 1:02}" for number in range(count + 1)]
    if chosen.model:
        learn_in_turns(chosen.model, months, chosen.rows, chosen.turns)
        return
    del months[count]
    take(months, None, chosen.rows)  # Makes the months.
    with ExitStack() as stack:
        places: dict[str, str | None] = {"this machine": None}
        places |= {f"{n} workers": cluster(stack, n)[0] for n in (1, 2)}
        taken: dict[str, list[float]] = {name: [] for name in places}
        digests = set()
        for _ in range(chosen.turns):
            for name, scheduler in places.items():
                seconds, digest = take(months, scheduler, chosen.rows)
                taken[name].append(seconds)
                digests.add(digest)
        for name, seconds_of in taken.items():
            median = statistics.median(seconds_of)
            print(
                f"{name:<14} {median:6.1f} s  {count * chosen.rows / 1e6 / median:5.1f} M records/s"
            )
        address, workers = cluster(stack, 2)
        killer = threading.Timer(statistics.median(taken["2 workers"]) / 2, workers[0].kill)
        killer.start()
        seconds, digest = take(months, address, chosen.rows)
        digests.add(digest)
        print(f"one killed     {seconds:6.1f} s")
    print("the same bits each time" if len(digests) == 1 else f"DIFFERENT: {digests}")
    raise SystemExit(len(digests) != 1)


if __name__ == "__main__":
    main()
