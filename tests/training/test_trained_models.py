"""What notebooks say: two sets, the models of these sets, an evaluation in one go."""

from __future__ import annotations

import json
from typing import Any

import mlflow
import pandas as pd
import pytest

from taxi_nb import (
    TrainedModel,
    load_split,
    load_trips,
    log_evaluation,
    pair_seen,
    plots,
    promote_if_better,
    provenance,
    train,
    trained_models,
)
from taxi_nb.tracking.names import UPSTREAM_VARIABLE
from taxi_nb.training.trained_models import TrainedModels
from taxi_nb.training.used_trips import digests_of
from tests.conftest import runs_of
from tests.trained_models import TrainedModels as Trained


def test_a_split_is_two_loads(project: object) -> None:
    options: dict[str, Any] = {"cleaning": {"max_distance": 20}, "seed": 3, "sample_rows": 500}
    months = ["2021-01"], ["2021-02", "2021-03"]
    for found, month in zip(load_split("green", *months, "sample", **options), months, strict=True):
        assert found.equals(load_trips("green", month, "sample", **options))


def test_the_default_of_sample_rows_is_that_of_the_notebooks(project: object) -> None:
    assert provenance(load_trips("green", ["2021-01"], "sample")).cleaning.rows_in == 30_000


def test_models_of_two_sets_come_as_a_table_best_first(trained: Trained) -> None:
    # The fixture's runs have one name; the newest of a name counts.
    found = trained_models(trained.training, trained.validation)
    assert [one.run_id for one in found] == [trained.run_ids["good"]]
    run = trained.run("good")
    assert found.best == TrainedModel.of(run)
    assert (found.best.name, found.best.model) == ("lasso", "lasso")
    assert found.best.params["alpha"] == "5.0"
    # MLflow's own pages name the model, and where it comes from.
    logged = mlflow.get_logged_model(found.best.uri.rpartition("/")[2])
    assert logged.name == "lasso"
    assert logged.tags["mlflow.source.name"] == run.data.tags["mlflow.source.name"]
    table = found.table()
    assert list(table) == ["valid_rmse", "valid_mae", "valid_r2", "train_rmse", "fit_seconds"]
    assert table.loc["lasso", "valid_rmse"] == run.data.metrics["valid_rmse"]
    assert "<table" in found._repr_html_()
    # Times are others in each run, and what is shown is compared.
    assert "fit_seconds" not in found._repr_html_()
    predicted = found.best.load().predict(trained.validation)
    assert len(predicted) == len(trained.validation)


def test_a_run_of_before_trips_had_a_digest_is_found_by_its_files(trained: Trained) -> None:
    sets = {"training": trained.training, "validation": trained.validation}
    good = trained.run("good")
    with mlflow.start_run(run_name="before") as run:
        mlflow.set_tags(good.data.tags | {"mlflow.runName": "before"})
        old = {f"{role}_digest": provenance(trips).files_digest for role, trips in sets.items()}
        ours = {f"{role}_{kind}" for role in sets for kind in ("digest", "files_digest")}
        kept = {name: value for name, value in good.data.params.items() if name not in ours}
        mlflow.log_params(kept | old)
        mlflow.log_metrics(good.data.metrics)
    for run_id in trained.run_ids.values():
        mlflow.delete_run(run_id)
    (found,) = trained_models(trained.training, trained.validation)
    assert found.run_id == run.info.run_id
    before = mlflow.get_run(run.info.run_id)
    assert digests_of(before, "validation") & digests_of(good, "validation")
    assert not digests_of(before, "training") & digests_of(good, "validation")


def test_without_a_model_it_says_what_to_run(store: str) -> None:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=500)
    with pytest.raises(LookupError, match="run the training notebook with the same source"):
        trained_models(trips, trips)


def test_a_trained_model_can_be_promoted(trained: Trained) -> None:
    best = trained_models(trained.training, trained.validation).best
    decision = promote_if_better(best, trained.validation)
    assert decision.promoted
    assert mlflow.MlflowClient().get_model_version(decision.name, "1").run_id == best.run_id


def test_an_evaluation_is_logged_in_one_go(trained: Trained, store: str) -> None:
    best = trained_models(trained.training, trained.validation).best
    log_evaluation(
        figures={"durations": plots.durations(trained.validation)},
        tables={"worst": pd.DataFrame({"error": [20.0]})},
        metrics={"interval_coverage": 0.9},
        of=best,
    )
    run = runs_of(store, "attributes.run_name = 'evaluate'")[-1]
    assert run.data.tags["evaluated_run"] == best.run_id
    assert run.data.metrics["interval_coverage"] == 0.9
    client = mlflow.MlflowClient()
    paths = {
        file.path
        for folder in ("figures", "tables")
        for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert paths == {"figures/durations.png", "tables/worst.csv"}
    log_evaluation(figures={"durations": plots.durations(trained.validation)}, name="explore")
    explored = runs_of(store, "attributes.run_name = 'explore'")[-1]
    assert "evaluated_run" not in explored.data.tags


def of(name: str, model: str, rmse: float, **params: str) -> TrainedModel:
    return TrainedModel(name, model, name, {"model": model, **params}, {"valid_rmse": rmse}, "")


def test_the_distance_is_judged_like_for_like(project: object) -> None:
    """Not the best with it against the best without, which may be tuned or have more trees."""
    models = TrainedModels(
        [
            of("tuning", "xgboost-rich", 5.195, n_estimators="390", features="many"),
            of("rich", "xgboost-rich", 5.283, n_estimators="600", features="many"),
            of("before", "xgboost-before", 5.800, n_estimators="600", features="fewer"),
            of("lasso", "lasso", 11.2),
        ]
    )
    pair = models.with_and_without("trip_distance")
    assert pair is not None
    assert [one.name for one in pair] == ["rich", "before"]
    assert TrainedModels(models[:1] + models[2:]).with_and_without("trip_distance") is None


def test_models_are_named_as_models_and_the_same_again_is_no_other(project: object) -> None:
    same = [of(name, "xgboost", 5.0, alpha="1") for name in ("03_train[xgboost]", "04_tune")]
    models = TrainedModels([*same, of("03_train[lasso]", "lasso", 6.0)])
    assert [models.title(one) for one in models] == [
        "xgboost (03_train[xgboost])",
        "xgboost (04_tune)",
        "lasso",
    ]
    assert (len(models), models.different) == (3, 2)


def test_of_equally_good_models_the_order_of_steps_decides_and_not_which_ended_first(
    project: object, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `--jobs` would decide which model is the best, promoted and named in conclusions."""
    sets = load_split("green", ["2021-01"], ["2021-02"], "sample", sample_rows=500)
    first, second = (train("linear", *sets).run_id for _ in range(2))
    for needed in ({"03_a": first, "03_b": second}, {"03_a": second, "03_b": first}):
        monkeypatch.setenv(UPSTREAM_VARIABLE, json.dumps(needed))
        found = trained_models(*sets)
        assert [one.run_id for one in found] == [needed["03_b"], needed["03_a"]]
    assert found[0].metrics["valid_rmse"] == found[1].metrics["valid_rmse"]


def test_pairs_that_training_never_saw_are_found(project: object) -> None:
    def january(max_trips: int) -> pd.DataFrame:
        return load_trips("green", ["2021-01"], "sample", sample_rows=2_000, max_trips=max_trips)

    asked = load_trips("green", ["2021-02"], "sample", sample_rows=500)
    training = january(10_000)
    known = set(zip(training["PULocationID"], training["DOLocationID"], strict=True))
    pairs = zip(asked["PULocationID"], asked["DOLocationID"], strict=True)
    expected = [pair in known for pair in pairs]
    assert 0 < sum(expected) < len(expected)
    assert pair_seen(training, asked).tolist() == expected
    # A frame that holds a part stands for all its trips.
    assert pair_seen(january(300), asked).tolist() == expected
