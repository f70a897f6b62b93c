"""Hyperparameter search for XGBoost: hyperopt's TPE, each trial a nested run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from taxi_nb.models.specs import ModelChoice
from taxi_nb.progress import progress_bar
from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.run import tracked_run
from taxi_nb.training.train import TrainingResult, fit_and_log
from taxi_nb.trips.arguments import require
from taxi_nb.trips.split import require_disjoint, split_by_time

TUNABLE = ("xgboost-rich", "xgboost-before", "xgboost")
"""The models that `tune` can search: one family with the same parameters."""


@dataclass(frozen=True)
class TuningResult:
    """The trials of a search, and the model refitted with the best parameters."""

    # Its parameters, ``rounds`` (where early stopping ended it), ``rmse`` on the held-out end of
    # the training trips (minutes) and ``run_id``.
    trials: pd.DataFrame
    best: TrainingResult  # The best parameters, refitted on all training trips and logged.


def search_space() -> dict[str, Any]:
    """Return the prior of each parameter, as hyperopt expressions."""
    from hyperopt import hp

    return {
        "learning_rate": hp.loguniform("learning_rate", np.log(0.03), np.log(0.3)),
        "max_depth": hp.quniform("max_depth", 4, 12, 1),
        "min_child_weight": hp.loguniform("min_child_weight", np.log(1), np.log(50)),
        "subsample": hp.uniform("subsample", 0.6, 1.0),
        "colsample_bytree": hp.uniform("colsample_bytree", 0.25, 1.0),
        "reg_alpha": hp.loguniform("reg_alpha", np.log(0.001), np.log(1)),
        "reg_lambda": hp.loguniform("reg_lambda", np.log(0.001), np.log(10)),
    }


def tune(
    training: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    model: str = TUNABLE[0],
    max_evals: int = 10,
    max_rounds: int = 200,
    early_stopping_rounds: int = 15,
    holdout_share: float = 0.25,
    seed: int = 42,
) -> TuningResult:
    """Search XGBoost's hyperparameters, refit the best, log everything.

    Trials learn on the earlier training trips; the later ones score and stop them. The validation
    months are looked at once, for the model that is refitted with the best parameters.

    Parameters
    ----------
    training, validation : DataFrame
        As `load_trips` returned them.
    model : str
        Which of `TUNABLE`.
    max_evals : int
        Number of trials.
    max_rounds, early_stopping_rounds : int
        The most boosting rounds of a trial, and after how many without gain it ends.
    holdout_share : float
        The share of training trips, last by pick-up, that trials are scored on.
    seed : int
        Of the search and of the models.

    Returns
    -------
    TuningResult
        The trials, and the refitted model.

    Raises
    ------
    ValueError
        If the model or a number is out of its range or the sets share a month.

    Examples
    --------
    >>> tuned = tune(training, validation, model="xgboost", max_evals=2, max_rounds=5)
    >>> len(tuned.trials), tuned.best.model
    (2, 'xgboost')
    """
    require(model in TUNABLE, "model", model, f"be one of {list(TUNABLE)}")
    require(max_evals >= 1, "max_evals", max_evals, "be 1 or more")
    require(max_rounds >= 1, "max_rounds", max_rounds, "be 1 or more")
    require(0 < holdout_share < 1, "holdout_share", holdout_share, "be between 0 and 1")
    require_disjoint(training, validation)
    with tracked_run(name="tuning", kind="training") as run:
        search = _Search(model, training, max_rounds, early_stopping_rounds, holdout_share, seed)
        trials = search.carry_out(max_evals)
        best = trials.iloc[int(trials["rmse"].argmin())]
        params = _cast({name: best[name] for name in search_space()})
        params["n_estimators"] = int(best["rounds"])
        contents = RunContents(
            metrics={"trials": len(trials), "best_holdout_rmse": float(trials["rmse"].min())},
            files={"tuning/trials.csv": trials.to_csv().encode()},
        )
        contents.log(run.info.run_id)
        choice = ModelChoice(model, params, seed)
        return TuningResult(trials, fit_and_log(choice, training, validation, run.info.run_id))


class _Search:
    """The trials' data, made into matrices once, and their objective."""

    def __init__(
        self,
        model: str,
        training: pd.DataFrame,
        max_rounds: int,
        early_stopping_rounds: int,
        holdout_share: float,
        seed: int,
    ) -> None:
        from xgboost import DMatrix

        earlier, later = split_by_time(training, holdout_share)
        features = ModelChoice(model, seed=seed).features()
        # Not fit and then transform: that would show statistics of the trips' own durations.
        learnt_from = features.fit_transform(earlier, earlier["duration"])
        matrix = partial(DMatrix, enable_categorical=True)
        self.fitted_on = matrix(learnt_from, label=earlier["duration"])
        self.scored_on = matrix(features.transform(later), label=later["duration"])
        self.actual = later["duration"].to_numpy(np.float64)
        self.max_rounds = max_rounds
        self.early_stopping_rounds = early_stopping_rounds
        self.seed = seed
        self.rows: list[dict[str, Any]] = []

    def carry_out(self, max_evals: int) -> pd.DataFrame:
        from hyperopt import fmin, tpe

        with progress_bar(total=max_evals, desc="tuning", unit="trial") as bar:

            def run_and_show(drawn: Mapping[str, Any]) -> float:
                rmse = self.run_trial(drawn)
                bar.set_postfix(best=f"{min(row['rmse'] for row in self.rows):.3f} min")
                bar.update()
                return rmse

            fmin(
                run_and_show,
                search_space(),
                algo=tpe.suggest,
                max_evals=max_evals,
                rstate=np.random.default_rng(self.seed),
                show_progressbar=False,
            )
        return pd.DataFrame(self.rows).rename_axis("trial")

    def run_trial(self, drawn: Mapping[str, Any]) -> float:
        import mlflow
        from xgboost import train

        params = _cast(drawn)
        with tracked_run(name=f"trial {len(self.rows)}", kind="trial", params=params) as run:
            # Not XGBRegressor: its quantized matrix takes 14 times as long to score each round.
            booster = train(
                {**params, "seed": self.seed, "disable_default_eval_metric": True},
                self.fitted_on,
                self.max_rounds,
                evals=[(self.scored_on, "holdout")],
                custom_metric=self._rmse,
                early_stopping_rounds=self.early_stopping_rounds,
                verbose_eval=False,
            )
            rmse, rounds = float(booster.best_score), int(booster.best_iteration) + 1
            mlflow.log_metrics({"holdout_rmse": rmse, "rounds": rounds})
        self.rows.append({**params, "rounds": rounds, "rmse": rmse, "run_id": run.info.run_id})
        return rmse

    def _rmse(self, predicted: npt.NDArray[np.float32], _: Any) -> tuple[str, float]:
        """Measure a round; the last digits of XGBoost's own sum tell how many threads shared it."""
        return "rmse", float(np.sqrt(np.mean((predicted - self.actual) ** 2)))


def _cast(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters the types that XGBoost wants: hyperopt's integers are floats."""
    floats = {name: float(value) for name, value in drawn.items()}
    return {**floats, "max_depth": int(drawn["max_depth"])}
