"""What a version says of itself: tags that lead back, and a card for people."""

from __future__ import annotations

import re
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

import taxi_nb
from taxi_nb import (
    ReportedError,
    load_trips,
    log_evaluation,
    promote_if_better,
    tracked_run,
)
from taxi_nb.registry.card import model_card
from taxi_nb.registry.versions import RegistryError
from tests.trained_models import TrainedModels

NAME = "nyc-taxi-duration"


@pytest.fixture
def card(three_champions: TrainedModels) -> str:
    return model_card(NAME, "3")


def test_a_version_says_where_it_comes_from(three_champions: TrainedModels) -> None:
    version = MlflowClient().get_model_version(NAME, "3")
    run = three_champions.run("good")
    assert version.tags["lineage.run_id"] == run.info.run_id
    for name in ("training_digest", "validation_digest"):
        assert version.tags[f"lineage.{name}"] == run.data.params[name]
    assert version.tags["lineage.commit"] == run.data.tags["git.commit"]


def test_what_a_refit_does_not_say_is_said_by_the_step_above_it(trained: TrainedModels) -> None:
    above = {"taxi_nb.step": "04_tune", "taxi_nb.pipeline_run": "20260101-000000-test"}
    with tracked_run("step", tags=above) as step:
        pass
    refit = trained.run_ids["good"]
    MlflowClient().set_tag(refit, "mlflow.parentRunId", step.info.run_id)
    promote_if_better(mlflow.get_run(refit), trained.validation)
    tags = MlflowClient().get_model_version(NAME, "1").tags
    assert tags["lineage.step"] == "04_tune"
    assert tags["lineage.pipeline_run"] == "20260101-000000-test"
    assert tags["lineage.run_id"] == refit


def test_the_card_is_the_description_and_an_artifact_of_the_run(
    trained: TrainedModels,
) -> None:
    run_id = trained.run_ids["good"]
    promote_if_better(mlflow.get_run(run_id), trained.validation)
    card = str(MlflowClient().get_model_version(NAME, "1").description)
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/model_card.md") == card
    assert model_card(NAME, "1") == card


def test_the_card_says_first_that_trips_are_synthetic(card: str) -> None:
    title, warning = [line for line in card.splitlines() if line][:2]
    assert title == f"# {NAME}, version 3"
    assert "synthetic" in warning


def test_the_card_tells_data_metrics_slices_and_limits(
    card: str, three_champions: TrainedModels
) -> None:
    run = three_champions.run("good")
    for digest in ("training_digest", "validation_digest"):
        assert run.data.params[digest] in card
    for metric in ("train_rmse", "valid_rmse", "valid_mae"):
        assert f"{run.data.metrics[metric]:.3f}" in card
    assert f"{len(three_champions.validation):,}" in card
    for part in ("hour of pick-up", "distance (miles)", "borough of pick-up", "## Limits"):
        assert part in card
    table = card.partition("hour of pick-up")[2].partition("\n\n")[0]
    hours = re.findall(r"^\| (\d+) \| ([\d,]+) \|", table, re.MULTILINE)
    assert [int(hour) for hour, _ in hours] == list(range(24))
    counted = sum(int(trips.replace(",", "")) for _, trips in hours)
    assert counted == len(three_champions.validation)
    assert "longer than 60 minutes" in card
    assert "was not measured" in card


def test_the_card_tells_how_often_intervals_held(trained: TrainedModels) -> None:
    run = trained.run("good")
    with tracked_run("evaluate", tags={"evaluated_run": run.info.run_id}):
        mlflow.log_metrics({"interval_coverage": 0.885, "interval_width": 14.21})
    promote_if_better(run, trained.validation)
    assert "covered 88.5% of the validation trips and were 14.2 minutes" in model_card(NAME, "1")


def test_the_card_says_why_it_predicts_what_it_does(trained: TrainedModels) -> None:
    best = taxi_nb.trained_models(trained.training, trained.validation).best
    model, some = best.load(), trained.validation.head(2)
    missed = taxi_nb.importance(model, trained.validation)
    told: Any = taxi_nb.contributions(model, some)
    moved = told.set_axis(["a to b", "b to c"])
    log_evaluation(tables={"importance": missed, "why": moved}, of=best)
    promote_if_better(best, trained.validation)
    said = model_card(NAME, "1")
    first = missed.iloc[0]
    assert f"| {missed.index[0]} | {first['minutes']:.2f} ± {first['spread']:.2f} |" in said
    for name, minutes in zip(moved.index, model.predict(some), strict=True):
        assert re.search(rf"- {name}: an average trip .* together {minutes:.1f} minutes\.", said)
    description = str(MlflowClient().get_model_version(NAME, "1").description)
    assert "## How to load it" in description


def test_the_card_says_that_its_number_chose_the_model(trained: TrainedModels) -> None:
    promote_if_better(trained.run("good"), trained.validation)
    said = model_card(NAME, "1")
    assert "also chose it among 3 models, so that its number on them is optimistic" in said
    assert "| test |" not in said
    assert re.search(r"standard error of its RMSE over days is \d\.\d{3} minutes \(28 days\)", said)
    assert "lasso draws no random numbers: another seed changes nothing" in said


def test_the_card_reports_the_months_that_chose_nothing(trained: TrainedModels) -> None:
    best = taxi_nb.trained_models(trained.training, trained.validation).best
    test = load_trips("green", ["2021-03"], "sample", sample_rows=500)
    reported = ReportedError.on_test(
        test, best.load(), chosen_by=[trained.training, trained.validation]
    )
    log_evaluation(metrics=reported.logged, of=best, test=test)
    promote_if_better(best, trained.validation)
    said = model_card(NAME, "1")
    rmse, error = (f"{reported.logged[f'test_{name}']:.3f}" for name in ("rmse", "rmse_day_error"))
    assert f"| test | {rmse} |" in said
    assert f"RMSE {rmse} minutes, with a standard error of {error} over days" in said
    assert "| test | green 2021-03, sample (synthetic) |" in said
    assert "optimistic" not in said


def test_the_code_on_the_card_works_as_it_stands(card: str) -> None:
    code = card.split("```python")[1].split("```")[0]
    *lines, last = code.strip().splitlines()
    names: dict = {}
    exec("\n".join(lines), names)
    predicted = eval(last, names)
    said = [float(number) for number in last.split("minutes: ")[1].split(", ")]
    np.testing.assert_allclose(predicted, said, atol=0.005)


def test_names_on_the_card_are_text_and_not_markup(trained: TrainedModels) -> None:
    run_id = trained.run_ids["good"]
    MlflowClient().set_tag(run_id, "developer", "<img src=x> [me](http://x) | `rm`")
    promote_if_better(mlflow.get_run(run_id), trained.validation)
    assert r"&lt;img src=x> \[me\](http://x) \| \`rm\`" in model_card(NAME, "1")


@pytest.mark.slow
def test_a_card_too_long_for_a_description_leaves_its_tables_to_the_artifact(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taxi_nb.registry.card._LONGEST_DESCRIPTION", 3_000)
    run = trained.run("good")
    promote_if_better(run, trained.validation)
    description = str(MlflowClient().get_model_version(NAME, "1").description)
    assert len(description) <= 3_000
    assert f"see model_card.md of run {run.info.run_id}" in description
    assert "How to load it" in description
    assert len(model_card(NAME, "1")) > 3_000


def test_a_card_of_no_version_is_an_error(three_champions: TrainedModels) -> None:
    with pytest.raises(RegistryError, match="no version 7"):
        model_card(NAME, "7")
