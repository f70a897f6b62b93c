"""The alias moves only for a model that is better by the margin."""

from __future__ import annotations

import json

import mlflow
import pandas as pd
import pytest

from taxi_nb import load_trips, promote_if_better, train
from tests.conftest import Project, runs_of


@pytest.fixture
def training(project: Project) -> pd.DataFrame:
    return load_trips("green", ["2021-01"], source="sample", sample_rows=2_000)


@pytest.fixture
def validation(project: Project) -> pd.DataFrame:
    return load_trips("green", ["2021-02"], source="sample", sample_rows=2_000)


def aliases() -> dict[str, str]:
    found = mlflow.MlflowClient().get_registered_model("nyc-taxi-duration").aliases
    return {name: str(version) for name, version in found.items()}


def test_a_first_model_becomes_champion_and_a_worse_one_does_not_replace_it(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    good = mlflow.get_run(train("linear", training, validation).run_id)
    poor = mlflow.get_run(train("lasso", training, validation, params={"alpha": 50.0}).run_id)
    first = promote_if_better(good, validation)
    assert first.promoted
    assert first.champion_version is None
    assert aliases() == {"champion": "1", "challenger": "1"}
    second = promote_if_better(poor, validation)
    assert not second.promoted
    assert second.champion_rmse == pytest.approx(first.challenger_rmse)
    assert second.challenger_rmse == pytest.approx(poor.data.metrics["valid_rmse"])
    assert aliases() == {"champion": "1", "challenger": "2"}
    champion = mlflow.pyfunc.load_model("models:/nyc-taxi-duration@champion")
    raw = validation[["PULocationID", "DOLocationID", "trip_distance"]]
    assert len(champion.predict(raw)) == len(validation)


def test_a_gain_has_to_be_above_the_margin(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    poor = mlflow.get_run(train("lasso", training, validation, params={"alpha": 50.0}).run_id)
    good = mlflow.get_run(train("linear", training, validation).run_id)
    promote_if_better(poor, validation)
    gain = poor.data.metrics["valid_rmse"] - good.data.metrics["valid_rmse"]
    assert gain > 0
    assert not promote_if_better(good, validation, margin=gain + 0.01).promoted
    assert aliases()["champion"] == "1"
    assert promote_if_better(good, validation, margin=gain - 0.01).promoted
    assert aliases()["champion"] == "2"


def test_the_same_run_twice_is_one_version_and_stays_champion(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    run = mlflow.get_run(train("linear", training, validation).run_id)
    promote_if_better(run, validation)
    again = promote_if_better(run, validation)
    assert not again.promoted
    assert "champion already" in again.reason
    assert aliases() == {"champion": "1", "challenger": "1"}


def test_a_model_of_synthetic_trips_never_replaces_one_of_real_trips(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    real = mlflow.get_run(train("lasso", training, validation, params={"alpha": 50.0}).run_id)
    mlflow.MlflowClient().set_tag(real.info.run_id, "data.synthetic", "false")
    promote_if_better(mlflow.get_run(real.info.run_id), validation)
    better = mlflow.get_run(train("linear", training, validation).run_id)
    decision = promote_if_better(better, validation)
    assert not decision.promoted
    assert "synthetic" in decision.reason
    assert aliases()["champion"] == "1"


def test_the_decision_and_its_numbers_are_logged_either_way(
    store: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    run = mlflow.get_run(train("linear", training, validation).run_id)
    decisions = [promote_if_better(run, validation, margin=0.1) for _ in range(2)]
    logged = [r for r in runs_of(store) if r.data.tags["taxi_nb.kind"] == "registration"]
    assert [r.data.metrics["promoted"] for r in logged] == [1.0, 0.0]
    for made, kept in zip(decisions, logged, strict=True):
        assert kept.data.params["margin"] == "0.1"
        assert kept.data.tags["promotion"] == str(made)
        text = mlflow.artifacts.load_text(f"runs:/{kept.info.run_id}/promotion.json")
        assert json.loads(text)["challenger_rmse"] == made.challenger_rmse


def test_a_negative_margin_is_refused(store: str, validation: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="`margin` must be 0 or more"):
        promote_if_better(None, validation, margin=-1)  # type: ignore[arg-type]
