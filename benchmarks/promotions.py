"""Processes that promote at once, in any store: who wins, and does anyone win twice?

    python -m benchmarks.promotions [PROMOTERS]

Each promoter is a process with a better model than the one before it. All judge theirs against
the same champion, and only then may any of them go on. The store is MLFLOW_TRACKING_URI, or else
an SQLite file of its own; trips are synthetic.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.store import tracking_uri

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2_000
# What a promoter has to import; done once, promoters are forked from that.
PRELOAD = [
    "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.linear_model",
    "skops.io",
    "taxi_nb.registry",
    "taxi_nb.training.train",
]


def train_challengers(count: int) -> tuple[list[str], pd.DataFrame]:
    """Train models each better than the one before; return their runs and the trips to judge on."""
    from taxi_nb import load_trips, train

    training, validation = (
        load_trips("green", [month], "sample", sample_rows=ROWS) for month in ("2021-01", "2021-02")
    )
    alphas = [35 - 30 * step / max(1, count - 1) for step in range(count)]
    runs = [
        train("lasso", training, validation, params={"alpha": alpha}).run_id for alpha in alphas
    ]
    return runs, validation


def race(run_ids: Sequence[str], validation: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    """Let a process for each run promote it; return the decisions, with the attempts made."""
    processes = fresh_processes()
    together = processes.Barrier(len(run_ids))
    answers = processes.Queue()
    store = tracking_uri()
    promoters = [
        processes.Process(target=_promote, args=(store, run, validation, name, together, answers))
        for run in run_ids
    ]
    for promoter in promoters:
        promoter.start()
    decided = [answers.get(timeout=120) for _ in promoters]
    for promoter in promoters:
        promoter.join(timeout=30)
    return decided


def fresh_processes() -> Any:
    """Return what starts processes that have imported everything and connected to nothing."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOAD)
    return processes


def _promote(
    store: str, run_id: str, validation: pd.DataFrame, name: str, together: Barrier, answers: Any
) -> None:
    from dataclasses import asdict

    import mlflow

    from taxi_nb import promote_if_better
    from taxi_nb.registry.history import PromotionLog
    from taxi_nb.tracking.store import connect

    # Processes inherit the variables of the first that asked for one.
    os.environ["MLFLOW_TRACKING_URI"] = store
    append = PromotionLog.append
    attempts: list[float] = []

    def append_together(self: PromotionLog, *given: Any) -> Any:
        if not attempts:
            together.wait(timeout=60)
        attempts.append(time.monotonic())
        return append(self, *given)

    PromotionLog.append = append_together  # type: ignore
    connect()
    try:
        decision = promote_if_better(mlflow.get_run(run_id), validation, margin=0.0, name=name)
        answers.put({**asdict(decision), "attempts": len(attempts)})
    except Exception as error:
        answers.put({"error": f"{type(error).__name__}: {error}", "attempts": len(attempts)})


def main(promoters: int) -> None:
    """Race and print the counts."""
    folder = tempfile.mkdtemp()
    os.environ["TAXI_NB_ROOT"] = folder
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    from taxi_nb.registry.promotion import promotion_history

    name = f"race-{os.getpid()}"
    run_ids, validation = train_challengers(promoters)
    started = time.perf_counter()
    decided = race(run_ids, validation, name)
    seconds = time.perf_counter() - started
    history = promotion_history(name)
    succeeded = Counter(one.before for one in history.promotions)
    counts = {
        "promoters": promoters,
        "failed": [one["error"] for one in decided if "error" in one],
        "attempts": sum(one["attempts"] for one in decided),
        "promotions": len(history.promotions),
        "champions succeeded more than once": sum(count > 1 for count in succeeded.values()),
        "alias and history agree": history.remark is None,
        "champion": history.champion,
        "line": [one.after for one in history.promotions],
        "seconds": round(seconds, 1),
    }
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
