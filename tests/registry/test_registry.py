"""The alias moves only for a model that is better, on trips that neither has seen."""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import replace

import mlflow
import pytest

from taxi_nb import load_trips, promote_if_better, promotion_history, train
from taxi_nb.registry.promotion import promote
from taxi_nb.registry.versions import RegistryError
from tests.conftest import runs_of
from tests.trained_models import TrainedModels


def aliases() -> dict[str, str]:
    found = mlflow.MlflowClient().get_registered_model("nyc-taxi-duration").aliases
    return {name: str(version) for name, version in found.items()}


def test_a_first_model_becomes_champion_and_a_worse_one_does_not_replace_it(
    trained: TrainedModels,
) -> None:
    good, poor = trained.run("good"), trained.run("poor")
    first = promote_if_better(good, trained.validation)
    assert first.promoted
    assert first.champion_version is None
    assert aliases() == {"champion": "1", "challenger": "1"}
    second = promote_if_better(poor, trained.validation)
    assert not second.promoted
    assert second.champion_rmse == pytest.approx(first.challenger_rmse)
    assert second.challenger_rmse == pytest.approx(poor.data.metrics["valid_rmse"])
    assert aliases() == {"champion": "1", "challenger": "2"}
    champion = mlflow.pyfunc.load_model("models:/nyc-taxi-duration@champion")
    raw = trained.validation[["PULocationID", "DOLocationID", "trip_distance"]]
    assert len(champion.predict(raw)) == len(raw)


def test_a_gain_has_to_be_above_the_margin(trained: TrainedModels) -> None:
    poor, good = trained.run("poor"), trained.run("good")
    promote_if_better(poor, trained.validation)
    gain = poor.data.metrics["valid_rmse"] - good.data.metrics["valid_rmse"]
    assert gain > 0
    assert not promote_if_better(good, trained.validation, margin=gain + 0.01).promoted
    assert aliases()["champion"] == "1"
    assert promote_if_better(good, trained.validation, margin=gain - 0.01).promoted
    assert aliases()["champion"] == "2"


def test_the_same_run_twice_is_one_version_and_stays_champion(trained: TrainedModels) -> None:
    first = promote_if_better(trained.run("good"), trained.validation)
    again = promote_if_better(trained.run("good"), trained.validation)
    # As after a kill: the same decision, and not a comparison of the version with itself.
    assert again.promoted
    assert replace(again, reason=first.reason, seeds=first.seeds) == first
    assert again.reason.startswith(first.reason)
    assert again.reason.endswith("(number 1), and stands")
    assert len(promotion_history().promotions) == 1
    otherwise = promote_if_better(trained.run("good"), trained.validation, margin=0.2)
    assert not otherwise.promoted
    assert "champion already" in otherwise.reason
    assert aliases() == {"champion": "1", "challenger": "1"}


@pytest.mark.slow
def test_where_nothing_is_to_be_promoted_the_gate_judges_and_nothing_moves(
    trained: TrainedModels, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote_if_better(trained.run("poor"), trained.validation)
    monkeypatch.setenv("TAXI_NB_PROMOTE", "no")
    judged = promote_if_better(trained.run("good"), trained.validation)
    assert (judged.promoted, judged.withheld) == (False, True)
    assert str(judged).startswith(
        "nyc-taxi-duration version 2 would be promoted, which --no-promote kept it from: RMSE "
    )
    assert aliases() == {"champion": "1", "challenger": "1"}
    assert [one.after for one in promotion_history().promotions] == ["1"]
    (kept,) = runs_of(store, "tags.`taxi_nb.kind` = 'registration' and metrics.promoted = 0")
    assert kept.data.tags["promotion"] == str(judged)
    assert kept.data.tags["taxi_nb.promoted"] == "false"
    # One that does not pass is not promoted for the gate's reason.
    worse = promote_if_better(trained.run("fair"), trained.validation, margin=99)
    assert not worse.withheld
    assert "not above the margin" in str(worse)
    monkeypatch.delenv("TAXI_NB_PROMOTE")
    assert promote_if_better(trained.run("good"), trained.validation).promoted
    assert aliases() == {"champion": "2", "challenger": "2"}


def test_a_word_for_promoting_that_is_none_is_refused(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_PROMOTE", "off")
    with pytest.raises(ValueError, match="`TAXI_NB_PROMOTE` must be yes or no, or not set"):
        promote_if_better(trained.run("good"), trained.validation)


def test_a_decision_has_the_error_of_its_rmse(trained: TrainedModels) -> None:
    made = promote_if_better(trained.run("good"), trained.validation)
    assert made.challenger_rmse_error is not None
    assert f"RMSE {made.challenger_rmse:.3f} ± {made.challenger_rmse_error:.3f}" in made.reason


def test_a_model_of_synthetic_trips_never_replaces_one_of_real_trips(
    trained: TrainedModels,
) -> None:
    poor = trained.run("poor").info.run_id
    mlflow.MlflowClient().set_tag(poor, "data.synthetic", "false")
    promote_if_better(mlflow.get_run(poor), trained.validation)
    decision = promote_if_better(trained.run("good"), trained.validation)
    assert not decision.promoted
    assert "synthetic" in decision.reason
    assert aliases()["champion"] == "1"
    with pytest.raises(RegistryError, match=r"synthetic trips .* must not replace it"):
        promote(decision.challenger_version, reason="its numbers look better")


def test_a_model_is_not_judged_on_trips_that_it_has_learned_from(trained: TrainedModels) -> None:
    decision = promote_if_better(trained.run("good"), trained.training)
    assert not decision.promoted
    assert decision.reason.startswith("it has learned from trips of 2021-01")
    assert "champion" not in aliases()


def test_the_decision_and_its_numbers_are_logged_either_way(
    trained: TrainedModels, store: str
) -> None:
    runs = [trained.run("good"), trained.run("poor")]
    decisions = [promote_if_better(run, trained.validation, margin=0.1) for run in runs]
    logged = runs_of(store, "tags.`taxi_nb.kind` = 'registration'")
    assert [r.data.metrics["promoted"] for r in logged] == [1.0, 0.0]
    for made, kept in zip(decisions, logged, strict=True):
        assert kept.data.params["margin"] == "0.1"
        assert kept.data.tags["promotion"] == str(made)
        text = mlflow.artifacts.load_text(f"runs:/{kept.info.run_id}/promotion.json")
        assert json.loads(text)["challenger_rmse"] == made.challenger_rmse


def test_a_champion_that_cannot_be_loaded_is_not_replaced_unseen(
    three_champions: TrainedModels,
) -> None:
    champion = mlflow.MlflowClient().get_model_version_by_alias("nyc-taxi-duration", "champion")
    address = mlflow.MlflowClient().get_model_version_download_uri(
        "nyc-taxi-duration", champion.version
    )
    shutil.rmtree(str(mlflow.artifacts.download_artifacts(address)))
    with pytest.raises(RegistryError, match=r"version 3 cannot be loaded, its files are gone"):
        promote_if_better(three_champions.run("poor"), three_champions.validation)


def test_the_number_of_candidates_reaches_decision_and_history(trained: TrainedModels) -> None:
    promote_if_better(trained.run("poor"), trained.validation)
    counted = promote_if_better(trained.run("good"), trained.validation)
    assert (counted.candidates, counted.days) == (3, 28)
    assert counted.promoted
    assert "that chance explains for the best of 3" in counted.reason
    numbers = promotion_history("nyc-taxi-duration").promotions[-1].numbers
    assert (numbers["candidates"], numbers["days"]) == (3, 28)
    assert numbers["gain_by_chance"] > 2 * numbers["gain_error"]
    # Chosen on other trips, it is the only one on these.
    others = load_trips("green", ["2021-03"], "sample", sample_rows=500)
    assert promote_if_better(trained.run("good"), others).candidates == 1


@pytest.mark.slow
def test_the_spread_of_seeds_is_said_where_it_is_known(store: str, trained: TrainedModels) -> None:
    params = {"n_estimators": 2, "max_depth": 3}

    def forest(seed: int) -> mlflow.entities.Run:
        run_id = train(
            "random_forest", trained.training, trained.validation, params=params, seed=seed
        ).run_id
        return mlflow.get_run(run_id)

    runs = [forest(1)]
    alone = promote_if_better(runs[0], trained.validation)
    assert alone.seeds is not None
    assert "is not known: one was trained" in alone.seeds
    runs.append(forest(2))
    two = promote_if_better(runs[1], trained.validation)
    spread = statistics.stdev(run.data.metrics["valid_rmse"] for run in runs)
    assert two.candidates == 5
    assert two.seeds is not None
    assert f"over its 2 seeds the validation RMSE has a standard deviation of {spread:.3f}" in (
        two.seeds
    )


def test_a_negative_margin_is_refused(store: str) -> None:
    for name in ("margin", "slice_margin"):
        with pytest.raises(ValueError, match=f"`{name}` must be 0 or more"):
            promote_if_better(None, None, **{name: -1})  # type: ignore
