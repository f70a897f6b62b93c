"""Models that learn from months of which a frame holds only a part."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from taxi_nb import load_model, load_trips, make_model, provenance, regression_metrics, train
from taxi_nb.training.trained_models import training_runs
from tests.conftest import runs_of

Load = Callable[..., pd.DataFrame]


@pytest.fixture
def load(project: object) -> Load:
    def load(month: str, max_trips: int = 10_000) -> pd.DataFrame:
        return load_trips("green", [month], "sample", sample_rows=4_000, max_trips=max_trips)

    return load


@pytest.mark.parametrize("model", ["linear", "ridge-exact", "lasso", "xgboost"])
def test_it_learns_from_all_trips_and_is_measured_on_all(
    model: str, load: Load, store: str
) -> None:
    params = {"n_estimators": 5} if model == "xgboost" else None
    part = train(
        model, load("2021-01", max_trips=500), load("2021-02", max_trips=400), params=params
    )
    training, validation = load("2021-01"), load("2021-02")
    whole = make_model("lasso-exact" if model == "lasso" else model, params)
    whole.fit(training, training["duration"])
    expected = regression_metrics(validation["duration"], whole.predict(validation))
    measured = {name: part.metrics[f"valid_{name}"] for name in expected}
    assert measured == pytest.approx(expected, rel=1e-6)
    seen = regression_metrics(training["duration"], whole.predict(training))
    assert part.metrics["train_mae"] == pytest.approx(seen["mae"], rel=1e-6)

    (run,) = runs_of(store)
    assert run.data.metrics["training_trips"] == len(training)
    assert run.data.metrics["validation_trips"] == len(validation)
    assert run.data.params["learned"].startswith("in batches")
    assert "base_score" not in run.data.params
    # The run is found by whoever looks for models of these months.
    (found,) = training_runs(provenance(training).digest, provenance(validation).digest)
    assert found.info.run_id == run.info.run_id
    assert load_model(part.run_id).predict(validation) == pytest.approx(whole.predict(validation))


@pytest.mark.parametrize("model", ["random_forest", "linear-lsqr"])
def test_a_model_that_needs_all_trips_at_once_says_so(model: str, load: Load, store: str) -> None:
    with pytest.raises(
        ValueError, match=rf"'{model}' cannot learn in batches.*of the 3,882 trips.*`max_trips`"
    ):
        train(model, load("2021-01", max_trips=500), load("2021-02"))
    assert runs_of(store) == []


def test_a_parameter_that_cannot_be_kept_in_batches_is_refused(load: Load, store: str) -> None:
    with pytest.raises(ValueError, match=r"'ridge' is solved as 'ridge-exact'.*\['solver'\]"):
        train(
            "ridge",
            load("2021-01", max_trips=500),
            load("2021-02"),
            params={"solver": "saga"},
        )


def test_xgboost_learns_from_several_pages_what_it_learns_from_one(
    load: Load, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taxi_nb.training._batches._PAGE_ROWS", 700)
    part = train(
        "xgboost",
        load("2021-01", max_trips=500),
        load("2021-02"),
        params={"n_estimators": 5},
    )
    training, validation = load("2021-01"), load("2021-02")
    whole = make_model("xgboost", {"n_estimators": 5}).fit(training, training["duration"])
    expected = regression_metrics(validation["duration"], whole.predict(validation))
    # Quantiles of a stream are approximate, so that some splits lie elsewhere.
    assert part.metrics["valid_rmse"] == pytest.approx(expected["rmse"], rel=0.02)
