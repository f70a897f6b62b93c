"""How quickly a model answers, beside `mlflow models serve`, and whether promotions lose requests.

    python -m benchmarks.serving [--seconds 10] [--rounds 3] [--model xgboost-rich]
    python -m benchmarks.serving --promotions 10 [--rate 200]

The first serves one champion by `taxi-nb serve` and by `mlflow models serve`, in turns, and asks
each for a single trip by one client, for a single trip by sixteen clients at once, and for 1,000
trips by one client; medians over the rounds. The second asks for single trips at a fixed rate
while one model after another becomes champion, and counts the answers that are none. Clients are
a process of their own on the same machine. Trips are synthetic.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ROWS = 10_000
NAME = "nyc-taxi-duration"
KINDS = {"one client": (1, 1), "16 clients": (16, 1), "1,000 trips": (1, 1_000)}


@dataclass(frozen=True)
class Asked:
    """What clients found: seconds of each answer, their codes, and who answered."""

    seconds: list[float]
    codes: Counter[int]
    versions: Counter[str]
    took: float

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the answers took at most."""
        return (
            1000 * sorted(self.seconds)[min(int(share * len(self.seconds)), len(self.seconds) - 1)]
        )

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.seconds) / self.took


async def _ask(address: str, body: bytes, until: float, clients: int, rate: float | None) -> Asked:
    where, headers = urlsplit(address), [b"Content-Type: application/json"]
    if token := parse_qs(where.query).get("token"):
        headers.append(f"Authorization: Bearer {token[0]}".encode())
    lines = [
        b"POST /invocations HTTP/1.1",
        f"Host: {where.netloc}".encode(),
        *headers,
        b"Content-Length: %d" % len(body),
    ]
    request = b"\r\n".join(lines) + b"\r\n\r\n" + body
    seconds: list[float] = []
    codes: Counter[int] = Counter()
    versions: Counter[str] = Counter()
    began = time.perf_counter()
    numbers = iter(range(1 << 30))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        while time.perf_counter() < until:
            if rate:  # Everybody takes the next moment that is due, late or not.
                due = began + next(numbers) / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            else:
                due = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
            await reader.readexactly(length)
            seconds.append(time.perf_counter() - due)
            codes[int(head.split(b" ", 2)[1])] += 1
            found = re.search(rb"(?i)x-model-version: (\S+)", head)
            versions[found[1].decode() if found else "?"] += 1
        writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return Asked(seconds, codes, versions, time.perf_counter() - began)


def _asking(answers: multiprocessing.Queue[Asked], *given: object) -> None:
    address, body, lasts, clients, rate = given
    until = time.perf_counter() + lasts  # type: ignore[operator]
    answers.put(asyncio.run(_ask(address, body, until, clients, rate)))  # type: ignore[arg-type]


class Clients:
    """Clients in a process of their own."""

    def __init__(
        self, address: str, body: bytes, lasts: float, clients: int, rate: float | None = None
    ) -> None:
        fresh = multiprocessing.get_context("spawn")
        self._answers = fresh.Queue()
        given = (self._answers, address, body, lasts, clients, rate)
        self._process = fresh.Process(target=_asking, args=given)
        self._process.start()

    def found(self) -> Asked:
        """Wait for their end."""
        found = self._answers.get(timeout=600)
        self._process.join()
        return found


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(by: str) -> Iterator[str]:
    """Yield the address at which the champion answers."""
    port = free_port()
    mine = ["-m", "taxi_nb", "serve", "--port", str(port)]
    theirs = ["-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@champion", "-p", str(port)]
    arguments = mine if by == "taxi-nb" else [*theirs, "--env-manager", "local"]
    server = subprocess.Popen(
        [sys.executable, *arguments],
        # MLflow looks for uvicorn there.
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stderr
    said = ""
    try:
        for line in server.stderr:
            said += line
            if found := re.search(
                rf"at (http://\S*:{port}/\S*)|Application startup complete", line
            ):
                yield found[1] or f"http://127.0.0.1:{port}/invocations"
                break
        else:
            raise RuntimeError(f"the server of {by} has ended: {said[-2000:]}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def prepare(models: Sequence[str | float]) -> list[str]:
    """Train and register models; return their versions. A number is a lasso's alpha."""
    from mlflow import MlflowClient

    from taxi_nb import load_trips, train
    from taxi_nb.registry.promotion import promote
    from taxi_nb.registry.versions import register

    training, validation = (
        load_trips("green", [month], "sample", sample_rows=ROWS) for month in ("2021-01", "2021-02")
    )
    versions = []
    for one in models:
        name, params = (one, {}) if isinstance(one, str) else ("lasso", {"alpha": one})
        result = train(name, training, validation, params=params)
        client = MlflowClient()
        versions.append(str(register(client, client.get_run(result.run_id), NAME).version))
    promote(versions[0], reason="to be served", name=NAME)
    return versions


def body_of(trips: int) -> bytes:
    """Return a request for so many trips."""
    columns = ["PULocationID", "DOLocationID", "trip_distance", "pickup_datetime"]
    rows = [
        [
            74 + number % 90,
            75 + number % 80,
            1.8 + number % 17,
            f"2021-03-01T{number % 24:02}:30:00",
        ]
        for number in range(trips)
    ]
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


def beside_mlflow(seconds: float, rounds: int, model: str) -> None:
    """Print both servers' times in turns."""
    prepare([model])
    found: dict[tuple[str, str], list[Asked]] = {}
    for _ in range(rounds):
        for by in ("taxi-nb", "mlflow"):
            with served(by) as address:
                for kind, (clients, trips) in KINDS.items():
                    Clients(address, body_of(trips), 1, clients).found()  # Warm.
                    asked = Clients(address, body_of(trips), seconds, clients).found()
                    assert set(asked.codes) == {200}, asked.codes
                    found.setdefault((kind, by), []).append(asked)
    print(f"{model}, {rounds} rounds in turns of {seconds:g} s; medians")
    print(f"{'':14}{'':>9}{'answers/s':>11}{'p50 ms':>9}{'p99 ms':>9}")
    for kind in KINDS:
        rates = {}
        for by in ("taxi-nb", "mlflow"):
            all_ = found[kind, by]
            rates[by] = statistics.median(one.rate for one in all_)
            p50, p99 = (statistics.median(one.quantile(q) for one in all_) for q in (0.5, 0.99))
            print(f"{kind:14}{by:>9}{rates[by]:11.0f}{p50:9.1f}{p99:9.1f}")
        print(f"{'':14}{'ratio':>9}{rates['taxi-nb'] / rates['mlflow']:10.1f}x")


def promotions(count: int, rate: float) -> None:
    """Print how requests fared while one model after another became champion."""
    from taxi_nb.registry.promotion import promote

    versions = prepare([5.0 + number for number in range(count + 1)])
    pause = 4.0
    with served("taxi-nb") as address:
        Clients(address, body_of(1), 1, 8).found()
        clients = Clients(address, body_of(1), pause * (count + 2), 64, rate)
        for version in versions[1:]:
            time.sleep(pause)
            promote(version, reason="the next one", name=NAME)
        asked = clients.found()
    good = asked.codes[200]
    print(f"{len(asked.seconds):,} requests, {asked.rate:.0f} a second, {count} promotions")
    print(f"failed: {len(asked.seconds) - good}; answered by versions {dict(asked.versions)}")
    print(
        f"p50 {asked.quantile(0.5):.1f} ms, p99 {asked.quantile(0.99):.1f} ms, "
        f"longest {1000 * max(asked.seconds):.0f} ms"
    )


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="xgboost-rich")
    parser.add_argument("--promotions", type=int)
    parser.add_argument("--rate", type=float, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        os.environ["TAXI_NB_ROOT"] = folder
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root / 'mlflow.db'}"
        if given.promotions:
            promotions(given.promotions, given.rate)
        else:
            beside_mlflow(given.seconds, given.rounds, given.model)


if __name__ == "__main__":
    main()
