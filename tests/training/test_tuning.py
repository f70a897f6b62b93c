"""A search that does no harm: the default stays unless another setting is surely better."""

from __future__ import annotations

import math
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from taxi_nb import load_trips, plots, provenance, train, tune
from taxi_nb.training._tuned_against_default import TunedAgainstDefault
from taxi_nb.training.tune import search_space
from tests.trained_models import TrainedModels


def starved(params: dict[str, Any]) -> dict[str, Any]:
    """A setting that anything beats."""
    return {"n_estimators": 3, "learning_rate": 0.01, **params}


def test_trial_0_is_the_default_and_stays_where_chance_explains_the_rest(
    trained: TrainedModels,
) -> None:
    tuned = tune(trained.training, trained.validation, model="xgboost", max_evals=3, max_rounds=20)
    usual = train("xgboost", trained.training, trained.validation)
    first = tuned.trials.iloc[0]
    assert (first["gain"], first["gain_error"]) == (0, 0)
    assert (first["rounds"], first["max_depth"], first["learning_rate"]) == (200, 10, 0.2)
    # What XGBoost takes where the model says nothing is known, too.
    assert first["reg_lambda"] == 1
    assert not tuned.trials.isna().any(axis=None)
    if tuned.chosen == 0:
        assert "the default stays" in tuned.reason
        # To the last digit what it is without a search.
        assert tuned.best.metrics["valid_rmse"] == usual.metrics["valid_rmse"]
    else:
        won = tuned.trials.iloc[tuned.chosen]
        assert won["gain"] > 2 * won["gain_error"]


@pytest.mark.slow
def test_a_poor_default_is_beaten(trained: TrainedModels) -> None:
    poor = starved({})
    tuned = tune(
        trained.training,
        trained.validation,
        model="xgboost",
        params=poor,
        max_evals=3,
        max_rounds=20,
    )
    usual = train("xgboost", trained.training, trained.validation, params=poor)
    assert tuned.chosen > 0
    assert "where chance explains" in tuned.reason
    assert tuned.best.metrics["valid_rmse"] < usual.metrics["valid_rmse"] - 0.5
    assert tuned.best.params["n_estimators"] == tuned.trials.loc[tuned.chosen, "rounds"]
    # On trips that the search did not see, both refitted.
    helped = tuned.helped
    assert helped is not None
    assert (helped.trial, helped.on) == (tuned.chosen, provenance(trained.validation).title)
    assert helped.default_rmse == pytest.approx(usual.metrics["valid_rmse"])
    assert helped.tuned_rmse == pytest.approx(tuned.best.metrics["valid_rmse"])
    assert helped.gain.mean == pytest.approx(helped.default_rmse - helped.tuned_rmse)
    assert str(helped).startswith(f"Tuning helped. On {helped.on}, which the search did not see")
    logged = mlflow.get_run(tuned.best.run_id).data.metrics
    assert logged["tuning_gain"] == pytest.approx(helped.gain.mean)


def test_a_search_of_one_trial_is_the_default(trained: TrainedModels) -> None:
    few = {"n_estimators": 5}
    tuned = tune(trained.training, trained.validation, model="xgboost", params=few, max_evals=1)
    assert (tuned.chosen, len(tuned.trials)) == (0, 1)
    assert tuned.trials.loc[0, "rounds"] == 5
    assert "no other setting was tried" in tuned.reason
    assert tuned.helped is None
    # The axis says what was held out.
    (axes, *_) = plots.tuning_progress(tuned.trials, trained.training).axes
    assert axes.get_ylabel() == "RMSE (minutes), held out:\n18 Jan 2021 to 31 Jan 2021"


def test_few_days_do_not_move_the_default(trained: TrainedModels) -> None:
    def first_days(days: int) -> pd.DataFrame:
        return trained.training[trained.training["pickup_datetime"].dt.day <= days]

    tuned = tune(
        first_days(4),
        trained.validation,
        model="xgboost",
        params=starved({}),
        max_evals=2,
        max_rounds=20,
    )
    assert tuned.chosen == 0
    assert "days are too few to tell" in tuned.reason
    with pytest.raises(ValueError, match="at least 3 days for 2 origins, got 2"):
        tune(first_days(2), trained.validation, model="xgboost")


@pytest.mark.parametrize("rounds", [1, 5, 20, 100, 400, 2_000])
def test_no_learning_rate_starves_at_the_cap(rounds: int) -> None:
    from hyperopt.pyll.stochastic import sample

    drawn = [
        sample(search_space(rounds), rng=np.random.default_rng(seed))["learning_rate"]
        for seed in range(20)
    ]
    # Twelve steps of its rate, or as near as half a step a tree comes.
    assert min(drawn) >= min(12 / rounds, 0.5) * 0.999
    assert max(drawn) <= 1.0
    assert not math.isclose(min(drawn), max(drawn))


def test_days_of_a_search_lie_after_those_that_it_learned_from(project: object) -> None:
    from taxi_nb.training.tune import _weeks

    training = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    weeks = _weeks(training, 2)
    for earlier, later in weeks:
        assert earlier["pickup_datetime"].max() < later["pickup_datetime"].min()
        assert later["pickup_datetime"].dt.date.nunique() == 7
    assert weeks[1][1]["pickup_datetime"].max() == training["pickup_datetime"].max()


class Constant:
    """Predicts so many minutes more than trips took, in turn more on one day than on the next."""

    def __init__(self, late: float, swing: float = 0.0) -> None:
        self.late, self.swing = late, swing

    def predict(self, trips: pd.DataFrame) -> pd.Series:
        return trips["duration"] + self.late + self.swing * (trips["pickup_datetime"].dt.day % 2)


@pytest.mark.parametrize(
    ("tuned", "days", "says"),
    [
        (Constant(2), 31, "Tuning helped. On green 2021-01, sample (synthetic), which the search"),
        (Constant(4), 31, "Tuning did not help, it did harm. On green"),
        (Constant(2.9, 0.2), 31, "Tuning did not help: what it changed is no more than chance"),
        (Constant(2), 1, "One day cannot tell whether tuning helped. On green"),
    ],
)
def test_whether_tuning_helped_is_said_as_it_is(
    tuned: Constant, days: int, says: str, project: object
) -> None:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    trips = trips[trips["pickup_datetime"].dt.day <= days]
    found = TunedAgainstDefault.of(trips, 4, default=Constant(3), tuned=tuned)
    assert str(found).startswith(says)
    assert "the default setting is wrong by 3.000 minutes (RMSE), and trial 4" in str(found)
    assert "nan" not in str(found)
    assert "inf" not in str(found)
