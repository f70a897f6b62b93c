"""A registered model is compared with what was registered, before any code of it runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from taxi_nb import load_model, promote_if_better
from taxi_nb.cli import app
from taxi_nb.registry.promotion import RegistryError, promote
from taxi_nb.scoring.scored_model import ModelError, load_scored_model
from taxi_nb.tracking import model_files
from taxi_nb.tracking.model_notes import ModelNotes
from tests.conftest import Project
from tests.trained_models import TrainedModels

NAME = "nyc-taxi-duration"
CHAMPION = f"models:/{NAME}@champion"


@pytest.fixture
def files(three_champions: TrainedModels, tmp_path: Path) -> Iterator[Path]:
    """The champion's own files, put back afterwards: other tests use them as well."""
    client = MlflowClient()
    address = client.get_model_version_download_uri(NAME, "3")
    place = Path(str(mlflow.artifacts.download_artifacts(address)))
    shutil.copytree(place, tmp_path / "kept")
    yield place
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "kept", place)


def refused(*arguments: str) -> str:
    ended = CliRunner().invoke(app, list(arguments))
    assert isinstance(ended.exception, SystemExit), ended.exception
    assert ended.exit_code == 1, ended.output
    return ended.output


def evil(marker: Path) -> str:
    return f"open({str(marker)!r}, 'w').close()\n"


@pytest.mark.slow
def test_code_that_was_exchanged_does_not_run(
    files: Path, tmp_path: Path, three_champions: TrainedModels, project: Project
) -> None:
    project.notebook("one")
    scoring = [
        "score",
        "2021-03",
        "--source=sample",
        f"--params={project.pipeline('steps: [{notebook: one}]')}",
    ]
    marker, validation = tmp_path / "it ran", three_champions.validation
    (package,) = [path for path in (files / "code").iterdir() if path.is_dir()]
    with (package / "__init__.py").open("a") as file:
        file.write(evil(marker))
    said = f"code/{package.name}/__init__.py has another content"
    run_id = MlflowClient().get_model_version_by_alias(NAME, "champion").run_id
    for model in (CHAMPION, f"models:/{NAME}/3", f"models:/{NAME}/latest", str(run_id)):
        with pytest.raises(RegistryError, match="is not the model that was registered") as error:
            load_model(model)
        assert said in str(error.value)
    with pytest.raises(ModelError, match="has another content"):
        load_scored_model(CHAMPION)
    for command in (
        ["serve", "--port", "5987"],
        [*scoring, f"-o{tmp_path}/out.parquet", f"--model={CHAMPION}"],
        ["registry", "promote", "3", "--reason", "mine"],
    ):
        assert said in refused(*command)
    # The gate compares with the champion.
    with pytest.raises(RegistryError, match="has another content"):
        promote_if_better(three_champions.run("poor"), validation)
    assert not marker.exists()


@pytest.mark.parametrize("what", ["added", "gone", "a device"])
def test_a_file_more_or_less_is_another_model(files: Path, what: str) -> None:
    if what == "added":
        (files / "code" / "sitecustomize.py").write_text("")
    else:
        (files / "requirements.txt").unlink()
    if what == "a device":
        (files / "requirements.txt").symlink_to("/dev/zero")
    with pytest.raises(
        RegistryError, match=r"sitecustomize.py was added|requirements.txt (is gone|has)"
    ):
        load_model(CHAMPION)


def test_what_python_left_beside_the_code_is_not_run(
    files: Path, three_champions: TrainedModels
) -> None:
    """Compiled code counts for more than its source: it is not copied."""
    (package,) = [path for path in (files / "code").iterdir() if path.is_dir()]
    cache = package / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "__init__.cpython-311.pyc").write_bytes(b"nothing that Python could run")
    (files / "registered_model_meta").write_text("model_name: x\n")
    assert len(load_model(CHAMPION).predict(three_champions.validation.head(3))) == 3


def test_a_version_that_somebody_slipped_in_is_not_loaded(files: Path) -> None:
    client = MlflowClient()
    made = client.create_model_version(NAME, source=files.as_uri())
    client.set_registered_model_alias(NAME, "champion", made.version)
    with pytest.raises(RegistryError, match="version 4 was not registered by taxi-nb"):
        load_model(CHAMPION)
    # Unless a person takes it as it is; from then on it is compared as well.
    client.set_registered_model_alias(NAME, "champion", "3")
    promote("4", reason="looked at")
    load_model(CHAMPION)
    (files / "requirements.txt").write_text("evil\n")
    with pytest.raises(RegistryError, match=r"requirements.txt has another content"):
        load_model(CHAMPION)


def test_digests_cannot_be_written_again(three_champions: TrainedModels) -> None:
    client = MlflowClient()
    notes = ModelNotes(client, NAME)
    assert notes.read()["files.after"] == "0"
    key = next(key for key in notes.read() if key.startswith("files.3."))
    assert not notes.write(key, "{}")
    assert not notes.write("files.after", "99")


def test_versions_of_older_commits_load_and_that_is_said_once(
    trained: TrainedModels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*given: Any) -> None:
        """Older commits noted nothing."""

    with monkeypatch.context() as patch:
        for name in ("note_files", "expect_digests"):
            patch.setattr(f"taxi_nb.registry.versions.{name}", nothing)
        promote_if_better(trained.run("poor"), trained.validation)
    monkeypatch.setattr(model_files, "_told", set())
    capsys.readouterr()
    for _ in range(2):
        load_model(CHAMPION)
    told = capsys.readouterr().err
    assert told.count("version 1 was registered before digests of a model's files were kept") == 1
    # So they do once newer ones have digests.
    assert promote_if_better(trained.run("good"), trained.validation).promoted
    load_model(f"models:/{NAME}/1")
    assert "files.2" in ModelNotes(MlflowClient(), NAME).read()
