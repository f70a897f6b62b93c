"""A protected champion is replaced only by a version that somebody has signed off."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from taxi_nb import promote_if_better
from taxi_nb.cli import app
from taxi_nb.registry.promotion import promote, rollback
from taxi_nb.registry.sign_off import ApprovalLog, approvals, protect, sign_off
from taxi_nb.registry.versions import RegistryError
from taxi_nb.review.verify._registry_state import recreate, registry_before
from taxi_nb.tracking.model_notes import ModelNotes
from tests.conftest import Project, runs_of
from tests.trained_models import TrainedModels, copy_store, project_folder, store_in

NAME = "nyc-taxi-duration"


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["registry", *arguments], env={"COLUMNS": "240"})
    return done.exit_code, done.output


def champion() -> str:
    return str(MlflowClient().get_model_version_by_alias(NAME, "champion").version)


@pytest.fixture(scope="module")
def protected_database(
    tmp_path_factory: pytest.TempPathFactory, trained_models: TrainedModels
) -> Path:
    """A store in which version 1 is champion, and protected."""
    root = project_folder(tmp_path_factory, "protected")
    copy_store(trained_models.database, root)
    with store_in(root):
        promote_if_better(trained_models.run("poor"), trained_models.validation)
        code, said = command("protect", "--by", "Ada Lovelace", "--reason", "people rely on it")
    assert code == 0
    assert f"{NAME}: the champion is protected by Ada Lovelace, 20" in said
    return root / "mlflow.db"


@pytest.fixture
def protected(
    project: Project, store: str, trained_models: TrainedModels, protected_database: Path
) -> TrainedModels:
    """Version 1 is champion, and protected."""
    copy_store(protected_database, project.root)
    return trained_models


def test_the_gate_lets_a_better_model_wait_until_it_is_signed_off(
    protected: TrainedModels,
) -> None:
    decision = promote_if_better(protected.run("good"), protected.validation)
    assert (decision.promoted, decision.waits) == (False, True)
    assert str(decision).startswith(f"{NAME} version 2 waits for a sign-off: RMSE ")
    what = f"taxi-nb registry sign-off 2 --by NAME --reason WHY --name {NAME}"
    assert "the champion of nyc-taxi-duration is protected by Ada Lovelace" in decision.reason
    assert what in decision.reason
    code, said = command("promote", "2", "--reason", "now")
    assert code == 1
    assert said.startswith("version 2 waits for a sign-off: the champion of")
    assert what in said
    assert champion() == "1"
    assert command("sign-off", "2", "--by", "Grace", "--reason", "looked at Queens")[0] == 0
    assert champion() == "1"
    assert command("promote", "2", "--reason", "now")[0] == 0
    assert champion() == "2"


def test_once_signed_off_the_gate_promotes(protected: TrainedModels) -> None:
    assert promote_if_better(protected.run("good"), protected.validation).waits
    sign_off("2", by="Grace", reason="looked at")
    assert promote_if_better(protected.run("good"), protected.validation).promoted


def test_a_worse_model_is_refused_and_does_not_wait(protected: TrainedModels) -> None:
    decision = promote_if_better(protected.run("good"), protected.validation, margin=50)
    assert (decision.promoted, decision.waits) == (False, False)
    assert "sign-off" not in decision.reason


def test_where_there_is_no_champion_the_first_waits_too(trained: TrainedModels) -> None:
    protect(by="Ada", reason="from the first on")
    decision = promote_if_better(trained.run("good"), trained.validation)
    assert decision.waits
    assert decision.reason.startswith("there was no champion")


@pytest.mark.slow
def test_a_sign_off_is_for_one_version_and_its_files(protected: TrainedModels) -> None:
    promote_if_better(protected.run("fair"), protected.validation)
    promote_if_better(protected.run("good"), protected.validation)
    sign_off("3", by="Grace", reason="this one")
    with pytest.raises(RegistryError, match="version 3 is signed off already: signed off by Grace"):
        sign_off("3", by="Grace", reason="once more")
    with pytest.raises(RegistryError, match="version 2 waits for a sign-off"):
        promote("2", reason="the other one")
    # As if the version had had other files when it was signed off.
    log = ApprovalLog(MlflowClient(), NAME)
    before = log.read()
    given = before.all[-1]
    log.append(type(given)(**{**vars(given), "version": "2", "files": "0" * 64}), before)
    with pytest.raises(RegistryError, match="its sign-off is for other files"):
        promote("2", reason="the other one")


def test_a_sign_off_can_be_taken_back_and_a_protection_too(protected: TrainedModels) -> None:
    promote_if_better(protected.run("good"), protected.validation)
    sign_off("2", by="Grace", reason="looked at")
    sign_off("2", by="Grace", reason="there is a hole in it", withdraw=True)
    with pytest.raises(RegistryError, match="waits for a sign-off"):
        promote("2", reason="now")
    code, said = command("protect", "--off", "--by", "Ada", "--reason", "an experiment")
    assert (code, "the champion is unprotected by Ada" in said) == (0, True)
    assert promote("2", reason="now").after == "2"


@pytest.mark.slow
def test_who_when_and_why_are_shown_and_stay(protected: TrainedModels) -> None:
    promote_if_better(protected.run("good"), protected.validation)
    sign_off("2", by="Grace Hopper", reason="looked at Queens")
    listed = command("list")[1]
    assert "Grace Hopper" in next(line for line in listed.splitlines() if "2" in line.split()[:1])
    assert "the champion is protected by Ada Lovelace" in listed
    shown = command("show", "2")[1]
    assert f"{NAME}, version 2\n  aliases: challenger\n" in shown
    assert "signed off by Grace Hopper, 20" in shown
    assert "looked at Queens" in shown
    assert "lineage.commit: " in shown
    assert "  not signed off\n" in command("show")[1]
    history = command("history")[1]
    for part in ("protected", "people rely on it", "signed off", "Grace Hopper"):
        assert part in history
    notes = ModelNotes(MlflowClient(), NAME)
    assert not notes.write("approval.00001", "{}")


def test_going_back_to_a_former_champion_needs_no_sign_off(
    three_champions: TrainedModels,
) -> None:
    protect(by="Ada", reason="people rely on it")
    assert rollback(reason="complaints").after == "2"


def test_of_two_at_once_both_are_kept(protected: TrainedModels) -> None:
    log = ApprovalLog(MlflowClient(), NAME)
    before = log.read()
    given = before.all[0]
    assert log.append(given, before)
    assert log.append(given, before) is None
    sign_off("1", by="Grace", reason="late")
    assert [one.number for one in approvals(NAME).all] == [1, 2, 3]


@pytest.mark.slow
def test_verify_finds_the_protection_that_a_run_found(
    protected: TrainedModels, store: str, empty_store: Path, tmp_path: Path
) -> None:
    promote_if_better(protected.run("good"), protected.validation)
    client, run = MlflowClient(), runs_of(store, "tags.`taxi_nb.kind` = 'registration'")[-1]
    state = registry_before(client, run)
    sign_off("2", by="Grace", reason="later")
    assert state
    shutil.copy(empty_store, tmp_path / "scratch.db")
    scratch = MlflowClient(f"sqlite:///{tmp_path}/scratch.db")
    recreate(state, client, scratch, {})
    assert ApprovalLog(scratch, NAME).read().all == approvals(NAME).all[:1]


def test_a_mistake_is_told(protected: TrainedModels) -> None:
    before = approvals(NAME)
    for arguments, code, told in [
        (["protect", "--by", "Eve", "--reason", "again"], 1, "is protected already, protected by"),
        (["protect", "production", "--by", "E", "--reason", "x"], 1, "only champion can be"),
        (["protect", "--by", " ", "--reason", "x"], 2, "`by` must have 1 to 200 characters"),
        (["sign-off", "1", "--by", "Eve", "--reason", ""], 2, "`reason` must have 1 to 2,000"),
        (["sign-off", "1", "--by", "Eve"], 2, "--reason"),
        (["sign-off", "7", "--by", "Eve", "--reason", "x"], 1, "has no version 7"),
        (["sign-off", "1", "--by", "E", "--reason", "x", "--withdraw"], 1, "E has not signed off"),
        (["show", "7"], 1, "has no version 7"),
    ]:
        ended, said = command(*arguments)
        assert (ended, told in said) == (code, True), said
    assert approvals(NAME) == before
