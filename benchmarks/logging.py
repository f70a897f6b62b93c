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
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        print(
            f"seconds of logging  {'first':>9}{'median':>9}{'fastest':>9}{'processor':>11}"
            f"{'figures':>9}{'model':>9}"
        )
        for model, params in MODELS.items():
            first, *others = [seconds_of_logging(model, params) for _ in range(RUNS + 1)]
            clock, *medians = zip(*others, strict=True)
            processor, figures, saving = map(statistics.median, medians)
            print(
                f"{model:<20}{first[0]:9.3f}{statistics.median(clock):9.3f}{min(clock):9.3f}"
                f"{processor:11.3f}{figures:9.3f}{saving:9.3f}"
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


def seconds_of_logging(model: str, params: dict[str, int]) -> tuple[float, ...]:
    """Train once; return the time that went into neither fit nor predict.

    That is by the clock, of the processor, and what of the clock's went into figures and model.
    """
    from sklearn.pipeline import Pipeline

    import taxi_nb.training.train  # noqa: F401
    from taxi_nb import load_trips, plots, train
    from taxi_nb.tracking.contents import RunContents

    fitting = sys.modules["taxi_nb.training.train"]  # A function has the same name.
    drawing = [(plots, "predicted_against_actual"), (plots, "residuals")]
    # The check of the logged model predicts its five example rows: that is logging.
    learning = timed(
        (Pipeline, "fit"),
        (Pipeline, "predict"),
        counts=lambda _, rows, *__: len(rows) > EXAMPLE_ROWS,
    )
    training, validation = (
        load_trips("green", [month], source="sample", sample_rows=ROWS)
        for month in ("2021-01", "2021-02")
    )
    with (
        learning as learnt,
        timed(*drawing, (RunContents, "add_figure")) as drawn,
        timed((fitting, "log_model")) as saved,
    ):
        started = now()
        train(model, training, validation, params=params)
        ended = now()
    clock, processor = (sum(taken) for taken in zip(*learnt, strict=True))
    parts = (sum(seconds for seconds, _ in part) for part in (drawn, saved))
    return ended[0] - started[0] - clock, ended[1] - started[1] - processor, *parts


def now() -> tuple[float, float]:
    """Return seconds of the clock, and of the processor in this process and its children."""
    return time.perf_counter(), sum(os.times()[:4])


@contextmanager
def timed(
    *functions: tuple[Any, str], counts: Callable[..., bool] = lambda *_: True
) -> Iterator[list[tuple[float, float]]]:
    """Note how long each call of some functions takes, of those that count by their arguments."""
    taken: list[tuple[float, float]] = []
    originals = [getattr(owner, name) for owner, name in functions]

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            started = now()
            try:
                return original(*given, **named)
            finally:
                if counts(*given):
                    ended = now()
                    taken.append((ended[0] - started[0], ended[1] - started[1]))

        return call

    for (owner, name), original in zip(functions, originals, strict=True):
        setattr(owner, name, noting(original))
    try:
        yield taken
    finally:
        for (owner, name), original in zip(functions, originals, strict=True):
            setattr(owner, name, original)


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
