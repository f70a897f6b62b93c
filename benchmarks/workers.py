"""Months read by Dask's workers, of 1 GiB each: how quick, and whether the numbers are the same.

    python -m benchmarks.workers [--months 8]

Synthetic yellow months of 3,000,000 records each, made on first use below ``data/sample/``.
Statistics of all trips are taken by this machine's cores, by one worker, and by two, in turns;
then by two of which one is killed in the middle. Each time they have to be the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

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


def cluster(stack: ExitStack, workers: int) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """Start a scheduler and workers; return its address, and them."""
    from distributed import Client

    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "scheduler.json"
    start(stack, file, "dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    while not (file.exists() and file.read_text().endswith("}")):
        time.sleep(0.1)
    limits = ("--nthreads", "1", "--memory-limit", "1GiB", "--no-nanny")
    begun = [start(stack, file, "dask_worker", *limits) for _ in range(workers)]
    address = str(json.loads(file.read_text())["address"])
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)
    return address, begun


def take(months: list[str], scheduler: str | None) -> tuple[float, str]:
    """Return the seconds that the statistics take, and their digest."""
    started = time.perf_counter()
    batches = iter_trips("yellow", months, "sample", sample_rows=ROWS, scheduler=scheduler)
    found = pair_statistics(batches)
    parts = (found.groups, found.n, found.mean_x, found.mean_y)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts))
    digest.update(repr((found.xx, found.xy, found.yy, batches.provenance.digest)).encode())
    return time.perf_counter() - started, digest.hexdigest()


def main() -> None:
    """Print medians and whether all is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=8)
    count = parser.parse_args().months
    months = [f"{2021 + number // 12}-{number % 12 + 1:02}" for number in range(count)]
    take(months, None)  # Makes the months.
    with ExitStack() as stack:
        places: dict[str, str | None] = {"this machine": None}
        places |= {f"{n} workers": cluster(stack, n)[0] for n in (1, 2)}
        taken: dict[str, list[float]] = {name: [] for name in places}
        digests = set()
        for _ in range(TURNS):
            for name, scheduler in places.items():
                seconds, digest = take(months, scheduler)
                taken[name].append(seconds)
                digests.add(digest)
        for name, seconds_of in taken.items():
            median = statistics.median(seconds_of)
            print(f"{name:<14} {median:6.1f} s  {count * ROWS / 1e6 / median:5.1f} M records/s")
        address, workers = cluster(stack, 2)
        killer = threading.Timer(statistics.median(taken["2 workers"]) / 2, workers[0].kill)
        killer.start()
        seconds, digest = take(months, address)
        digests.add(digest)
        print(f"one killed     {seconds:6.1f} s")
    print("the same bits each time" if len(digests) == 1 else f"DIFFERENT: {digests}")
    raise SystemExit(len(digests) != 1)


if __name__ == "__main__":
    main()
