"""Who became champion when, and why; and back."""

from __future__ import annotations

import json
import os
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from benchmarks.promotions import fresh_processes, race
from taxi_nb import promote_if_better
from taxi_nb.cli import app
from taxi_nb.registry.history import PromotionLog
from taxi_nb.registry.promotion import promote, promotion_history, rollback
from taxi_nb.registry.versions import RegistryError
from taxi_nb.tracking.store import connect, experiment_name
from tests.trained_models import TrainedModels

NAME = "nyc-taxi-duration"


def champion() -> str:
    return str(MlflowClient().get_model_version_by_alias(NAME, "champion").version)


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["registry", *arguments], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_every_promotion_says_who_when_from_to_why_and_by_what_numbers(
    three_champions: TrainedModels,
) -> None:
    first, second, third = promotion_history().promotions
    assert [(one.before, one.after) for one in (first, second, third)] == [
        (None, "1"),
        ("1", "2"),
        ("2", "3"),
    ]
    assert first.reason.startswith("there was no champion")
    assert "better by" in third.reason
    assert third.numbers["champion_rmse"] == pytest.approx(second.numbers["challenger_rmse"])
    assert third.who
    assert third.at.endswith("+00:00")
    decided = mlflow.get_run(str(third.run_id))
    assert decided.data.tags["taxi_nb.kind"] == "registration"
    assert decided.data.params["validation_digest"] == third.validation_digest


def test_the_store_refuses_to_change_what_was_written(three_champions: TrainedModels) -> None:
    experiment = mlflow.get_experiment_by_name(f"{NAME} promotions")
    assert experiment is not None
    (run,) = mlflow.search_runs([experiment.experiment_id], output_format="list")
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        MlflowClient().log_param(run.info.run_id, "00002", json.dumps({"after": "7"}))
    assert promotion_history().promotions[1].after == "2"


def test_the_history_has_source_and_commit_and_lies_beside_the_other_artifacts(
    three_champions: TrainedModels,
) -> None:
    experiment = mlflow.get_experiment_by_name(f"{NAME} promotions")
    others = mlflow.get_experiment_by_name(experiment_name())
    assert experiment
    assert others
    assert experiment.artifact_location == others.artifact_location
    (run,) = mlflow.search_runs([experiment.experiment_id], output_format="list")
    assert run.data.tags["git.commit"]
    assert run.data.tags["mlflow.source.name"]


def test_rollback_goes_back_one_champion_at_a_time_and_is_part_of_the_history(
    three_champions: TrainedModels,
) -> None:
    assert command("rollback", "--reason", "complaints from Queens") == (
        0,
        f"{NAME}: the champion is version 2 now, version 3 before\n",
    )
    assert champion() == "2"
    assert rollback().after == "1"
    with pytest.raises(RegistryError, match="no champion to go back to: version 1 is the first"):
        rollback()
    assert rollback("3").after == "3"
    # What was rolled back is not gone back to.
    assert rollback().after == "1"
    code, shown = command("history")
    assert code == 0
    assert shown.count("rollback") == 4
    assert "complaints from Queens" in shown


def test_a_rollback_that_cannot_be_done_says_why(three_champions: TrainedModels) -> None:
    client = MlflowClient()
    client.delete_model_version(NAME, "2")
    code, said = command("rollback")
    assert code == 1
    assert "no version 2: it was deleted" in said
    assert "There are versions 1, 3" in said
    assert champion() == "3"
    assert "is the champion already" in command("rollback", "--to", "3")[1]
    assert "nothing is registered" in command("list", "--name", "unheard-of")[1]
    assert "it never had one" in command("rollback", "--name", "unheard-of")[1]
    with pytest.warns(FutureWarning, match="stages"):
        client.transition_model_version_stage(NAME, "1", "Archived")
    assert "version 1 is archived" in command("rollback", "--to", "1")[1]
    assert command("rollback", "--to", "1")[0] == 1


def test_by_hand_a_version_is_promoted_past_the_gate_for_a_reason(
    three_champions: TrainedModels,
) -> None:
    assert command("promote", "1")[0] == 2
    code, said = command("promote", "1", "--reason", "version 3 is too slow")
    assert (code, said) == (0, f"{NAME}: the champion is version 1 now, version 3 before\n")
    last = promotion_history().promotions[-1]
    assert (last.kind, last.reason) == ("by hand", "version 3 is too slow")
    assert rollback().after == "3"


def test_a_version_that_was_never_champion_is_not_rolled_back_to(trained: TrainedModels) -> None:
    promote_if_better(trained.run("good"), trained.validation)
    promote_if_better(trained.run("poor"), trained.validation)
    with pytest.raises(RegistryError, match=r"never been champion; .*registry promote 2"):
        rollback("2")


def test_the_history_notes_what_was_done_outside(three_champions: TrainedModels) -> None:
    MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    assert "the alias names version 1, the history version 3" in command("history")[1]
    assert len(promotion_history().promotions) == 3, "looking changes nothing"
    assert rollback().after == "3"
    outside = promotion_history().promotions[-2]
    assert (outside.kind, outside.before, outside.after) == ("outside", "3", "1")
    assert outside.who == "unknown"
    assert promotion_history().remark is None


def test_a_champion_from_before_the_history_is_its_beginning(trained: TrainedModels) -> None:
    promote_if_better(trained.run("good"), trained.validation, name="other")
    version = MlflowClient().get_model_version("other", "1")
    MlflowClient().create_registered_model(NAME)
    MlflowClient().create_model_version(NAME, str(version.source), version.run_id)
    MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    decision = promote_if_better(trained.run("poor"), trained.validation)
    assert not decision.promoted
    (found,) = promotion_history().promotions
    assert (found.kind, found.after) == ("outside", "1")


def test_a_deleted_history_is_not_begun_anew(three_champions: TrainedModels) -> None:
    experiment = mlflow.get_experiment_by_name(f"{NAME} promotions")
    assert experiment is not None
    MlflowClient().delete_experiment(experiment.experiment_id)
    code, said = command("rollback")
    assert code == 1
    assert f"mlflow experiments restore -x {experiment.experiment_id}" in said


@pytest.mark.slow
def test_of_promotions_at_once_one_wins_and_the_others_decide_again(
    trained: TrainedModels,
) -> None:
    decided = race(list(trained.run_ids.values()), trained.validation, NAME)
    assert not [one["error"] for one in decided if "error" in one]
    history = promotion_history()
    # All judged against "no champion" and tried; one was first.
    assert sum(one["attempts"] for one in decided) >= len(decided)
    assert [one.number for one in history.promotions if one.before is None] == [1]
    assert sum(one["promoted"] for one in decided) == len(history.promotions)
    for before, after in zip(history.promotions, history.promotions[1:], strict=False):
        assert after.before == before.after
    assert history.remark is None
    champions = MlflowClient().get_model_version_by_alias(NAME, "champion")
    assert champions.run_id == trained.run_ids["good"]


def _promote_and_die_before_the_alias_moves(store: str, run_id: str, validation: Any) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = store
    move = MlflowClient.set_registered_model_alias

    def die(self: MlflowClient, name: str, alias: str, version: str) -> None:
        if alias == "champion":
            os._exit(9)
        move(self, name, alias, version)

    MlflowClient.set_registered_model_alias = die  # type: ignore
    connect()
    promote_if_better(mlflow.get_run(run_id), validation)


@pytest.mark.slow
def test_a_promoter_that_is_killed_holds_nobody_up(
    trained: TrainedModels, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote_if_better(trained.run("poor"), trained.validation)
    killed = fresh_processes().Process(
        target=_promote_and_die_before_the_alias_moves,
        args=(store, trained.run_ids["fair"], trained.validation),
    )
    killed.start()
    killed.join(120)
    assert killed.exitcode == 9
    assert champion() == "1"
    assert "number 2 was interrupted" in str(promotion_history().remark)
    monkeypatch.setattr("taxi_nb.registry._handover._PATIENCE_SECONDS", 0.3)
    decision = promote_if_better(trained.run("good"), trained.validation)
    assert decision.champion_version == "2"
    assert [one.after for one in promotion_history().promotions] == ["1", "2", "3"]
    assert champion() == "3"
    assert promotion_history().remark is None


def test_two_who_roll_back_at_once_go_back_one_champion_not_two(
    three_champions: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taxi_nb.registry import promotion

    decide = promotion.hand_over

    def somebody_else_is_first(*given: object) -> object:
        monkeypatch.setattr(promotion, "hand_over", decide)
        assert rollback().after == "2"
        return decide(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(promotion, "hand_over", somebody_else_is_first)
    with pytest.raises(RegistryError, match="at the same moment: it is version 2 now"):
        rollback()
    assert champion() == "2"


def test_without_reason_nothing_is_promoted_by_hand(three_champions: TrainedModels) -> None:
    with pytest.raises(ValueError, match="`reason` must say why"):
        promote("1", reason=" ")


def test_a_long_reason_is_cut_where_one_can_see_it(three_champions: TrainedModels) -> None:
    promote("1", reason='"☃"' * 5_000)
    kept = promotion_history().promotions[-1].reason
    assert kept.endswith("…")
    assert len(kept) == 2_000
    assert champion() == "1"


def test_an_alias_that_was_removed_can_be_given_back(three_champions: TrainedModels) -> None:
    MlflowClient().delete_registered_model_alias(NAME, "champion")
    assert "the alias names no version" in str(promotion_history().remark)
    assert rollback().after == "3"
    assert [one.kind for one in promotion_history().promotions[-2:]] == ["outside", "rollback"]


def test_a_version_deleted_just_then_does_not_become_champion(
    three_champions: TrainedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = PromotionLog.append

    def deleted_meanwhile(self: PromotionLog, *given: Any) -> Any:
        MlflowClient().delete_model_version(NAME, "2")
        return append(self, *given)

    monkeypatch.setattr(PromotionLog, "append", deleted_meanwhile)
    with pytest.raises(RegistryError, match="not carried out: version 2 was deleted"):
        rollback()
    assert champion() == "3"
    assert "not carried out" in command("history")[1]
    assert promotion_history().remark is None
