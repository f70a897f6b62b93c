"""What tracking costs a training run: python -m benchmarks.logging

Everything that `train` does besides fitting and predicting counts as logging: opening the run, git,
source and uncommitted changes, packages, parameters, metrics, data sets, both figures, and the
model, saved, checked and copied. Trips are synthetic, the store is SQLite in a folder of its own,
the project is a git checkout with an edited notebook. The first run of a process makes the store
and imports what logging needs; it is told apart.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ROWS = 30_000
RUNS = 7
TRIALS = 20
EXAMPLE_ROWS = 5
MODELS = {"linear": {}, "xgboost": {"n_estimators": 50}, "xgboost-rich": {"n_estimators": 50}}


def main() -> None:
    """Print a table: seconds of logging for each model, and of a trial."""
    warnings.filterwarnings("ignore")
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        make_checkout(project)
        os.environ["TAXI_NB_ROOT"] = folder
        os.environ["JPY_SESSION_NAME"] = str(project / "notebooks" / "03_train.ipynb")
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        print(f"seconds of logging  {'first':>9}{'median':>9}{'fastest':>9}{'processor':>11}")
        for model, params in MODELS.items():
            first, *others = [seconds_of_logging(model, params) for _ in range(RUNS + 1)]
            clock, processor = zip(*others, strict=True)
            print(
                f"{model:<20}{first[0]:9.3f}{statistics.median(clock):9.3f}{min(clock):9.3f}"
                f"{statistics.median(processor):11.3f}"
            )
        print(f"\na trial: {seconds_of_a_trial():.3f} seconds (of {TRIALS}, within one run)")


def make_checkout(project: Path) -> None:
    """Make a git checkout with the project's notebooks, one of them edited since its commit."""
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, project / name)
    shutil.copy(REPOSITORY / "requirements.lock", project)
    (project / ".gitignore").write_text("mlflow.db*\nmlartifacts\ndata\n")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "all")):
        subprocess.run(["git", *command], cwd=project, check=True)
    notebook = project / "notebooks" / "03_train.ipynb"
    notebook.write_text(notebook.read_text().replace("How well", "How very well"))


def seconds_of_logging(model: str, params: dict[str, int]) -> tuple[float, float]:
    """Train once; return the time that went into neither fit nor predict: clock, processor."""
    from taxi_nb import load_trips, train

    training, validation = (
        load_trips("green", [month], source="sample", sample_rows=ROWS)
        for month in ("2021-01", "2021-02")
    )
    with learning_timed() as learning:
        started = now()
        train(model, training, validation, params=params)
        ended = now()
    clock, processor = (sum(taken) for taken in zip(*learning, strict=True))
    return ended[0] - started[0] - clock, ended[1] - started[1] - processor


def now() -> tuple[float, float]:
    """Return seconds of the clock, and of the processor in this process and its children."""
    return time.perf_counter(), sum(os.times()[:4])


@contextmanager
def learning_timed() -> Iterator[list[tuple[float, float]]]:
    """Note how long each `fit` and `predict` of a scikit-learn pipeline takes."""
    from sklearn.pipeline import Pipeline

    taken: list[tuple[float, float]] = []
    originals = {name: getattr(Pipeline, name) for name in ("fit", "predict")}

    def timed(name: str) -> None:
        def call(*given: object, **named: object) -> object:
            started = now()
            try:
                return originals[name](*given, **named)
            finally:
                # The check of the logged model predicts its five example rows: that is logging.
                if len(given[1]) > EXAMPLE_ROWS:  # type: ignore[arg-type]
                    ended = now()
                    taken.append((ended[0] - started[0], ended[1] - started[1]))

        setattr(Pipeline, name, call)

    for name in originals:
        timed(name)
    try:
        yield taken
    finally:
        for name, original in originals.items():
            setattr(Pipeline, name, original)


def seconds_of_a_trial() -> float:
    """Return the median time of a trial that computes nothing."""
    import mlflow

    from taxi_nb import tracked_run

    taken = []
    with tracked_run("tuning", kind="training"):
        for number in range(TRIALS):
            started = time.perf_counter()
            with tracked_run(f"trial {number}", kind="trial", params={"alpha": number}):
                mlflow.log_metrics({"holdout_rmse": 1.0})
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
