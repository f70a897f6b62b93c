"""Hyperparameter search for XGBoost: hyperopt's TPE, each trial a nested run.

Trials predict days from the days before them, at several origins (rolling-origin evaluation:
Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting
16(4), 2000). The default setting is trial 0, and stays unless another one is better by more than
chance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from taxi_nb.evaluation.day_blocks import MIN_DAYS, days_of, rmse_gain
from taxi_nb.models.choice import ModelChoice
from taxi_nb.models.specs import TUNABLE
from taxi_nb.plots import HELD_OUT
from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.progress_bar import progress_bar
from taxi_nb.tracking.run import tracked_run
from taxi_nb.training._tuned_against_default import TunedAgainstDefault
from taxi_nb.training.train import TrainingResult, fit_and_log, fitted
from taxi_nb.trips.arguments import require
from taxi_nb.trips.extras import extras_named
from taxi_nb.trips.split import require_disjoint

# The most days that are predicted from one origin.
_WEEK = 7
# A model has to take so many steps of its learning rate, or it has not learned what it could.
_STEPS = 12.0
# The learning rate for which the patience of early stopping is meant; slower ones get more.
_USUAL_RATE = 0.1

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TuningResult:
    """The trials of a search, and the model refitted with the setting that won."""

    # Its parameters, ``rounds`` (trees), ``rmse`` on the days predicted from the days before them
    # (minutes), ``gain`` on trial 0 with its standard error over days, and ``run_id``.
    trials: pd.DataFrame
    chosen: int  # The trial that won; 0 is the default.
    reason: str  # Why, a sentence.
    best: TrainingResult  # Its setting, refitted on all training trips and logged.
    # The best other setting against the default on the validation trips, each refitted on all
    # training trips; None where no other one was tried.
    helped: TunedAgainstDefault | None = None

    def __repr__(self) -> str:
        return f"{self.summary}\n{self.best!r}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary)}</p>{self.best._repr_html_()}"

    @property
    def summary(self) -> str:
        """What was chosen among how many, and why, in one line."""
        return f"{len(self.trials)} trials, number {self.chosen} chosen: {self.reason}"


def search_space(max_rounds: int) -> dict[str, Any]:
    """Return the prior of each parameter, as hyperopt expressions.

    The fewer trees there may be, the faster they have to learn: no trial starves.
    """
    from hyperopt import hp

    slowest = min(max(0.03, _STEPS / max_rounds), 0.5)
    fastest = min(max(0.3, 2 * slowest), 1.0)
    return {
        "learning_rate": hp.loguniform("learning_rate", np.log(slowest), np.log(fastest)),
        "max_depth": hp.quniform("max_depth", 4, 12, 1),
        "min_child_weight": hp.loguniform("min_child_weight", np.log(1), np.log(50)),
        "subsample": hp.uniform("subsample", 0.6, 1.0),
        "colsample_bytree": hp.uniform("colsample_bytree", 0.25, 1.0),
        "reg_alpha": hp.loguniform("reg_alpha", np.log(0.001), np.log(1)),
        "reg_lambda": hp.loguniform("reg_lambda", np.log(0.01), np.log(100)),
    }


@extras_named()
def tune(
    training: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    model: str = TUNABLE[0],
    params: Mapping[str, Any] | None = None,
    max_evals: int = 10,
    max_rounds: int = 200,
    early_stopping_rounds: int = 15,
    origins: int = 2,
    seed: int = 42,
) -> TuningResult:
    """Search XGBoost's hyperparameters, refit the setting that won, log everything.

    Each trial predicts the last days of the training months from the days before them, a week at a
    time. How many trees it grows on one week is decided by the others. Trial 0 is the default, as
    it comes; another setting takes its place only if it is better trip by trip by more than chance
    explains, days being blocks and all trials being counted. The validation months choose nothing:
    default and best other setting, both refitted on all training months, are compared on them.

    Parameters
    ----------
    training, validation : DataFrame
        As `load_trips` returned them.
    model : str
        Which of `TUNABLE`.
    params : mapping, optional
        Parameters that replace or add to the model's defaults: the setting to beat.
    max_evals : int
        Number of trials, the default among them.
    max_rounds, early_stopping_rounds : int
        The most trees of a trial, and after how many without gain it ends; slow learning rates
        are given more patience.
    origins : int
        How many times the last days are predicted from the days before them.
    seed : int
        Of the search and of the models.

    Returns
    -------
    TuningResult
        The trials, which of them won and why, the refitted model, and whether tuning helped.

    Raises
    ------
    ValueError
        If the model or a number is out of its range, the sets share a month, or the training trips
        have too few days.

    Examples
    --------
    >>> tuned = tune(training, validation, model="xgboost", max_evals=2, max_rounds=5)
    >>> len(tuned.trials), tuned.best.model
    (2, 'xgboost')
    """
    require(model in TUNABLE, "model", model, f"be one of {list(TUNABLE)}")
    require(max_evals >= 1, "max_evals", max_evals, "be 1 or more")
    require(max_rounds >= 1, "max_rounds", max_rounds, "be 1 or more")
    require(origins >= 2, "origins", origins, "be 2 or more")
    require_disjoint(training, validation)
    default = ModelChoice(model, params or {}, seed)
    weeks = _weeks(training, origins)
    with tracked_run(name="tuning", kind="training") as run:
        search = _Search(default, [_Origin.of(default, *week) for week in weeks])
        trials = search.carry_out(max_evals, max_rounds, early_stopping_rounds)
        # The pictures of trials say what they predicted.
        first, last = (days["pickup_datetime"] for _, days in (weeks[0], weeks[-1]))
        trials.attrs[HELD_OUT] = f"{first.min():%d %b %Y} to {last.max():%d %b %Y}"
        chosen, reason = search.winner()
        contents = RunContents(
            metrics={
                "trials": len(trials),
                "default_holdout_rmse": float(trials["rmse"].iloc[0]),
                "best_holdout_rmse": float(trials["rmse"].min()),
            },
            tags={"tuning": reason},
            files={"tuning/trials.csv": trials.to_csv().encode()},
        )
        contents.log(run.info.run_id)
        other = search.best_other
        settings = {trial: _setting(default, trials.iloc[trial]) for trial in {0, other or 0}}
        refitted = fit_and_log(settings[chosen], training, validation, run.info.run_id)
        helped = None
        if other is not None:
            models = {chosen: refitted.estimator}
            left_out = 0 if chosen else other
            models[left_out], _ = fitted(settings[left_out], training)
            helped = TunedAgainstDefault.of(
                validation, other, default=models[0], tuned=models[other]
            )
            RunContents(metrics=helped.metrics).log(run.info.run_id)
        return TuningResult(trials, chosen, reason, refitted, helped)


def _setting(default: ModelChoice, trial: pd.Series) -> ModelChoice:
    """Return the setting of a trial; that of the first is the default."""
    if trial.name == 0:
        return default
    drawn = _cast({name: trial[name] for name in search_space(1)})
    params = {**default.params, **drawn, "n_estimators": int(trial["rounds"])}
    return ModelChoice(default.name, params, default.seed)


def _weeks(training: pd.DataFrame, origins: int) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Cut the last days into weeks, or less where days are few; each with the trips before it."""
    day = days_of(training["pickup_datetime"])
    days = np.unique(day)
    length = min(_WEEK, len(days) // (origins + 1))
    if not length:
        raise ValueError(
            f"`training` must have trips of at least {origins + 1} days for {origins} origins, got "
            f"{len(days)}"
        )
    begins = [days[len(days) - length * left] for left in range(origins, 0, -1)]
    ends = [*begins[1:], days[-1] + 1]
    return [
        (training[day < begin], training[(begin <= day) & (day < end)])
        for begin, end in zip(begins, ends, strict=True)
    ]


@dataclass(frozen=True)
class _Origin:
    """Trips to learn from and the days after them, made into matrices once."""

    fitted_on: Any
    scored_on: Any
    actual: Floats  # Minutes.
    days: npt.NDArray[Any]

    @classmethod
    def of(cls, choice: ModelChoice, earlier: pd.DataFrame, later: pd.DataFrame) -> _Origin:
        from xgboost import DMatrix

        from taxi_nb.models.boosting import for_trees

        features = choice.features()
        # Not fit and then transform: that would show statistics of the trips' own durations.
        learnt_from = features.fit_transform(earlier, earlier["duration"])
        matrix = partial(DMatrix, enable_categorical=True)
        trees, weights = for_trees(learnt_from)
        scored_on, _ = for_trees(features.transform(later))
        return cls(
            matrix(trees, label=earlier["duration"], weight=weights),
            matrix(scored_on, label=later["duration"]),
            later["duration"].to_numpy(np.float64),
            days_of(later["pickup_datetime"]),
        )

    def fit(self, params: Mapping[str, Any], rounds: int, patience: int | None) -> Any:
        """Fit a booster; with a patience it stops when the later days no longer gain."""
        from xgboost import train

        return train(
            {**params, "disable_default_eval_metric": True},
            self.fitted_on,
            rounds,
            # Not XGBRegressor: its quantized matrix takes 14 times as long to score each round.
            evals=[(self.scored_on, "holdout")] if patience else (),
            custom_metric=self._rmse if patience else None,
            early_stopping_rounds=patience,
            verbose_eval=False,
        )

    def effective(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Return the parameters of trees as XGBoost has them, with its own where none are given."""
        from xgboost import Booster

        given = {name: value for name, value in params.items() if value is not None}
        learner = json.loads(Booster(given, [self.fitted_on]).save_config())["learner"]
        known = learner["gradient_booster"]["tree_train_param"]
        return {name: float(known[name]) for name in search_space(1)}

    def _rmse(self, predicted: npt.NDArray[np.float32], _: Any) -> tuple[str, float]:
        """Measure a round; the last digits of XGBoost's own sum tell how many threads shared it."""
        return "rmse", float(np.sqrt(np.mean((predicted - self.actual) ** 2)))

    def squared_errors(self, booster: Any, rounds: int) -> Floats:
        """Of each later trip, in minutes squared, with so many trees or all that there are."""
        last = min(rounds, booster.num_boosted_rounds())
        predicted = booster.predict(self.scored_on, iteration_range=(0, last))
        return np.asarray((predicted - self.actual) ** 2)


class _Search:
    """The trials of a search, each on all origins, and which of them wins."""

    def __init__(self, default: ModelChoice, origins: list[_Origin]) -> None:
        self._usual = default.estimator().get_xgb_params()
        self._trees = int(default.estimator().get_num_boosting_rounds())
        self._origins = origins
        # Trials are shown with what XGBoost takes where a model says nothing.
        usual = origins[0].effective(self._usual)
        self._shown = {
            name: usual[name] if self._usual.get(name) is None else self._usual[name]
            for name in search_space(1)
        }
        self._days = np.concatenate([origin.days for origin in origins])
        self._squared: list[Floats] = []
        self.rows: list[dict[str, Any]] = []

    def carry_out(self, max_evals: int, max_rounds: int, patience: int) -> pd.DataFrame:
        from hyperopt import fmin, tpe

        with progress_bar(total=max_evals, desc="tuning", unit="trial") as bar:

            def shown(rmse: float) -> float:
                bar.set_postfix(best=f"{min(row['rmse'] for row in self.rows):.3f} min")
                bar.update()
                return rmse

            shown(self._trial({}, self._as_it_comes))
            if max_evals > 1:
                fmin(
                    lambda drawn: shown(
                        self._trial(_cast(drawn), partial(self._stopped, max_rounds, patience))
                    ),
                    search_space(max_rounds),
                    algo=tpe.suggest,
                    max_evals=max_evals - 1,
                    rstate=np.random.default_rng(int(self._usual["random_state"] or 0)),
                    show_progressbar=False,
                )
        return pd.DataFrame(self.rows).rename_axis("trial")

    def _trial(self, drawn: Mapping[str, Any], fit: Callable[..., tuple[Floats, int]]) -> float:
        import mlflow

        params = {**self._shown, **drawn}
        with tracked_run(name=f"trial {len(self.rows)}", kind="trial", params=params) as run:
            squared, rounds = fit({**self._usual, **drawn})
            rmse = float(squared.mean() ** 0.5)
            mlflow.log_metrics({"holdout_rmse": rmse, "rounds": rounds})
        self._squared.append(squared)
        gain = rmse_gain(self._squared[0], squared, self._days)
        row = {"rounds": rounds, "rmse": rmse, "gain": gain.mean, "gain_error": gain.error}
        self.rows.append({**params, **row, "run_id": run.info.run_id})
        return rmse

    def _as_it_comes(self, params: Mapping[str, Any]) -> tuple[Floats, int]:
        fitted = [origin.fit(params, self._trees, None) for origin in self._origins]
        return self._errors(fitted, [self._trees] * len(fitted)), self._trees

    def _stopped(
        self, max_rounds: int, patience: int, params: Mapping[str, Any]
    ) -> tuple[Floats, int]:
        """Let each origin be scored with the trees that the others ask for, not with its best."""
        patience = math.ceil(patience * max(1.0, _USUAL_RATE / params["learning_rate"]))
        fitted = [origin.fit(params, max_rounds, patience) for origin in self._origins]
        asked = np.array([booster.best_iteration + 1 for booster in fitted])
        others = (asked.sum() - asked) / (len(asked) - 1)
        return self._errors(fitted, others.round().astype(int)), round(float(asked.mean()))

    def _errors(self, fitted: list[Any], rounds: Any) -> Floats:
        each = zip(self._origins, fitted, rounds, strict=True)
        return np.concatenate([one.squared_errors(booster, int(n)) for one, booster, n in each])

    @property
    def best_other(self) -> int | None:
        """The best trial but for the default; None if there is no other."""
        others = range(1, len(self.rows))
        return min(others, key=lambda trial: float(self.rows[trial]["rmse"]), default=None)

    def winner(self) -> tuple[int, str]:
        """Return the trial whose setting is to be used, and why."""
        default, best, others = self.rows[0]["rmse"], self.best_other, len(self.rows) - 1
        if best is None:
            return 0, f"the default is used: no other setting was tried; RMSE {default:.3f} minutes"
        gain = rmse_gain(self._squared[0], self._squared[best], self._days)
        among = f"the best of {others} others" if others > 1 else "the only other"
        says = (
            f"trial {best}, {among}, has an RMSE of {self.rows[best]['rmse']:.3f} minutes on the "
            f"held-out days where the default has {default:.3f}"
        )
        if gain.mean <= 0:
            return 0, f"the default stays: {says}"
        if gain.days < MIN_DAYS:
            return 0, f"the default stays: {says}, and {gain.days} days are too few to tell"
        needed = gain.reach(others)
        verdict = f"a gain of {gain.mean:.3f}, where chance explains {needed:.3f}"
        if gain.mean > needed:
            return best, f"{says}: {verdict}"
        return 0, f"the default stays: {says}: {verdict}"


def _cast(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Give parameters the types that XGBoost wants: hyperopt's integers are floats."""
    floats = {name: float(value) for name, value in drawn.items()}
    return {**floats, "max_depth": int(drawn["max_depth"])}
