"""What a challenger has to show, on errors made up for the purpose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from taxi_nb.registry._selection import Selection
from taxi_nb.registry.gate import Gate, Judged

TRIPS = 4_000
GATE = Gate(margin=0.05, slice_margin=0.5)


@pytest.fixture
def trips() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "pickup_datetime": pd.Timestamp("2021-02-01")
            + pd.to_timedelta(draw.integers(0, 28 * 24, TRIPS), unit="h"),
            "PULocationID": draw.choice([74, 166], TRIPS),
            "trip_distance": draw.uniform(0.5, 12, TRIPS),
            "duration": draw.uniform(5, 40, TRIPS),
        }
    )


def judged(number: int, trips: pd.DataFrame, errors: np.ndarray) -> Judged:
    version = ModelVersion("model", str(number), 0)
    return Judged(version, trips, trips["duration"].to_numpy() + errors)


def normal_errors(spread: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, TRIPS)


def test_a_clear_gain_is_promoted_with_its_standard_error(trips: pd.DataFrame) -> None:
    champion, challenger = (
        judged(number, trips, normal_errors(6.0 - number, seed=number)) for number in (1, 2)
    )
    decision = GATE.decide(challenger, champion)
    assert decision.promoted
    assert decision.gain == pytest.approx(champion.rmse - challenger.rmse)
    assert decision.gain_error is not None
    # Independent normal errors: that of an RMSE is about RMSE / sqrt(2 n), whatever the blocks.
    assert decision.gain_error == pytest.approx(np.hypot(4, 5) / np.sqrt(2 * TRIPS), rel=0.3)
    assert "± " in decision.reason
    assert "minutes over 28 days" in decision.reason
    assert (decision.days, decision.candidates) == (28, 1)
    # Student's t with 27 degrees of freedom, 39 times of 40.
    assert decision.gain_by_chance == pytest.approx(2.0518 * decision.gain_error, rel=1e-4)


def test_a_gain_above_the_margin_may_still_be_chance(trips: pd.DataFrame) -> None:
    few = trips.head(60)
    champion = judged(1, few, normal_errors(5.0, seed=2)[:60])
    challenger = judged(2, few, normal_errors(4.6, seed=6)[:60])
    decision = GATE.decide(challenger, champion)
    assert decision.gain is not None
    assert decision.gain > 0.05
    assert not decision.promoted
    assert "may be chance" in decision.reason
    assert "these 60 trips of 2" in decision.reason


@pytest.mark.parametrize(("days", "said"), [(1, "of 1 day cannot tell"), (6, "of 6 days cannot")])
def test_few_days_are_too_few_to_tell_however_many_trips(
    days: int, said: str, trips: pd.DataFrame
) -> None:
    hours = np.arange(TRIPS) % (24 * days)
    near = trips.assign(
        pickup_datetime=pd.Timestamp("2021-02-01") + pd.to_timedelta(hours, unit="h")
    )
    champion, challenger = (judged(number, near, normal_errors(8.0 / number)) for number in (1, 2))
    decision = GATE.decide(challenger, champion)
    assert not decision.promoted
    assert f"{said}" in decision.reason
    assert "at least 7 days are needed" in decision.reason
    assert GATE.decide(challenger, None).promoted


def errors_that_go_together(seed: int, trips: pd.DataFrame) -> np.ndarray:
    """Errors of ten equal models: what they share, and for each its own luck of the day."""
    draw = np.random.default_rng(seed)
    _, day = np.unique(trips["pickup_datetime"].dt.date, return_inverse=True)
    shared = draw.normal(0, 5, len(trips))
    luck = draw.normal(0, 1.0, (10, day.max() + 1))[:, day]
    return shared + luck + draw.normal(0, 0.5, (10, len(trips)))


def test_the_best_of_nine_equal_models_seldom_becomes_champion(trips: pd.DataFrame) -> None:
    gate, promoted = Gate(margin=0, slice_margin=100), {1: 0, 9: 0}
    months, passed_by_trips = 120, 0
    for seed in range(months):
        champion, *others = (
            judged(number, trips, errors)
            for number, errors in enumerate(errors_that_go_together(seed, trips), 1)
        )
        best = min(others, key=lambda one: one.rmse)
        for candidates in promoted:
            decision = gate.decide(best, champion, Selection(candidates))
            promoted[candidates] += decision.promoted
        difference = champion.squared_errors - best.squared_errors
        passed_by_trips += difference.mean() > 2 * difference.std() / np.sqrt(TRIPS)
    # One time in forty is what chance may do: 3 of 120, and 7 with bad luck.
    assert promoted[9] <= 7
    # Candidates that are not counted pass more often, trips taken for independent most of all.
    assert passed_by_trips > 3 * promoted[1] > 9 * promoted[9]


def test_candidates_are_told_where_they_decide(trips: pd.DataFrame) -> None:
    champion = judged(1, trips, normal_errors(5.0, seed=2))
    challenger = judged(2, trips, normal_errors(4.85, seed=6))
    alone = GATE.decide(challenger, champion, Selection(1))
    one_of_many = GATE.decide(challenger, champion, Selection(1_000))
    assert alone.promoted
    assert not one_of_many.promoted
    assert "for the best of 1000" in one_of_many.reason


def test_a_better_average_must_not_be_bought_with_a_slice(trips: pd.DataFrame) -> None:
    at_five = (trips["pickup_datetime"].dt.hour == 5).to_numpy()
    champion = judged(1, trips, normal_errors(5.0))
    challenger = judged(2, trips, np.where(at_five, 2.0, 0.8) * normal_errors(5.0))
    decision = GATE.decide(challenger, champion)
    assert not decision.promoted
    assert "worse in 1 slice by more than 0.5 minutes: hour of pick-up 5 by" in decision.reason
    assert Gate(margin=0.05, slice_margin=10).decide(challenger, champion).promoted


def test_a_slice_of_few_trips_has_no_say(trips: pd.DataFrame) -> None:
    few = np.arange(TRIPS) < 50
    far = trips.assign(trip_distance=np.where(few, 20.0, trips["trip_distance"]))
    champion = judged(1, far, normal_errors(5.0))
    challenger = judged(2, far, np.where(few, 2.0, 0.8) * normal_errors(5.0))
    assert GATE.decide(challenger, champion).promoted


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_never_win(trips: pd.DataFrame, wrong: float) -> None:
    errors = normal_errors(1.0)
    errors[7] = wrong
    decision = GATE.decide(judged(1, trips, errors), None)
    assert not decision.promoted
    assert "not numbers" in decision.reason
