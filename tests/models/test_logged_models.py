"""What becomes of logged models: loaded in any order, beside each other, after files have moved."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import taxi_nb
from taxi_nb.models import carried
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

# Two models that commit 3c1461c logged, and what they predicted there: they carry all of it.
LOGGED_BEFORE = Path(__file__).parent / "data" / "models_of_3c1461c.zip"
CODE_OF_MODELS = REPOSITORY / "taxi_nb" / "models"

PROGRAM = """
import json, sys
task = json.loads(sys.argv[1])
if task["first"] == "taxi_nb":
    import taxi_nb
import mlflow.pyfunc
import pandas as pd

trips = pd.DataFrame(task["trips"])
trips["pickup_datetime"] = pd.to_datetime(trips["pickup_datetime"])
models = {name: mlflow.pyfunc.load_model(place) for name, place in task["models"].items()}
told = {"minutes": {}, "classes": {}}
for name, model in models.items():
    columns = model.metadata.get_input_schema().input_names()
    told["minutes"][name] = [float(value) for value in model.predict(trips[columns])]
    told["classes"][name] = type(model.get_raw_model().named_steps["features"]).__module__
if task["with_project"]:
    import taxi_nb
    import taxi_nb.lab
    told["project"] = [taxi_nb.__file__, taxi_nb.lab.__file__, taxi_nb.train.__module__]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def logged_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of an earlier commit, a folder each as MLflow keeps them."""
    folder = tmp_path_factory.mktemp("before")
    with zipfile.ZipFile(LOGGED_BEFORE) as kept:
        kept.extractall(folder)
    for name in ("linear", "xgboost-rich"):
        shutil.copytree(folder / "code", folder / name / "code")
    return folder


@pytest.fixture(scope="module")
def expected(logged_before: Path) -> dict[str, Any]:
    return dict(json.loads((logged_before / "expected.json").read_bytes()))


@pytest.fixture(scope="module")
def logged_now(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> dict[str, str]:
    """Models that the present code has logged: name -> folder."""
    import mlflow

    root = tmp_path_factory.mktemp("now")
    shutil.copy(empty_store, root / "mlflow.db")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_NB_ROOT", str(root))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
        training, validation = (
            taxi_nb.load_trips("green", [month], "sample", sample_rows=2_000)
            for month in ("2021-01", "2021-02")
        )
        chosen = {"linear": {}, "xgboost-rich": {"n_estimators": 6, "max_depth": 4}}
        results = {
            name: taxi_nb.train(name, training, validation, params=params)
            for name, params in chosen.items()
        }
        folders = {
            name: mlflow.artifacts.download_artifacts(result.model_uri)
            for name, result in results.items()
        }
        mlflow.set_tracking_uri(before)
    return folders


def told(
    models: Mapping[str, Any],
    trips: list[dict[str, Any]],
    *options: str,
    first: str = "model",
    with_project: bool = True,
    setup: str = "",
    **variables: str,
) -> dict[str, Any]:
    """Load models in a process of their own and let them predict."""
    places = {name: str(place) for name, place in models.items()}
    task = {"first": first, "models": places, "trips": trips, "with_project": with_project}
    done = subprocess.run(
        [sys.executable, *options, "-c", setup + PROGRAM, json.dumps(task)],
        capture_output=True,
        text=True,
        cwd=variables.get("PYTHONPATH"),
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def without_project() -> dict[str, Any]:
    """How to start Python with all installed packages but this one, as where a model is served."""
    import mlflow

    packages = str(Path(mlflow.__file__).parents[1])
    return {"setup": f"import sys; sys.path.append({packages!r})\n", "with_project": False}


@pytest.fixture(scope="module", params=["taxi_nb", "model"])
def side_by_side(
    request: pytest.FixtureRequest,
    logged_before: Path,
    logged_now: dict[str, str],
    expected: dict[str, Any],
) -> dict[str, Any]:
    """What models of two commits say in one process that imports the project first, or last."""
    models = {
        "rich then": logged_before / "xgboost-rich",
        "rich now": logged_now["xgboost-rich"],
        "linear now": logged_now["linear"],
        "linear then": logged_before / "linear",
    }
    return told(models, expected["trips"], first=request.param)


def test_models_of_an_earlier_commit_predict_as_then_and_leave_the_project_alone(
    side_by_side: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert side_by_side["minutes"]["linear then"] == expected["minutes"]["linear"]
    assert side_by_side["minutes"]["rich then"] == expected["minutes"]["xgboost-rich"]
    package = str(REPOSITORY / "taxi_nb")
    assert all(place.startswith(package) for place in side_by_side["project"][:2])
    assert side_by_side["project"][2].startswith("taxi_nb.training.train")


def test_a_model_of_an_earlier_commit_predicts_where_the_project_is_not_installed(
    logged_before: Path, expected: dict[str, Any]
) -> None:
    models = {"xgboost-rich": logged_before / "xgboost-rich"}
    found = told(models, expected["trips"], "-I", "-S", **without_project())
    assert found["minutes"]["xgboost-rich"] == expected["minutes"]["xgboost-rich"]
    assert found["classes"]["xgboost-rich"] == "taxi_nb.trip_features"


def test_models_of_different_code_live_side_by_side(side_by_side: dict[str, Any]) -> None:
    classes = side_by_side["classes"]
    # The same code is the project's own; another is the model's, under a name that is its alone.
    assert classes["rich now"] == "taxi_nb.models.trip_features"
    assert classes["linear now"] == "taxi_nb.models.features"
    assert classes["linear then"].startswith("taxi_nb_model_")
    assert classes["linear then"].split(".")[0] != classes["rich then"].split(".")[0]


@pytest.fixture(scope="module")
def here(logged_now: dict[str, str], expected: dict[str, Any]) -> dict[str, Any]:
    """What the present code's models say in the project."""
    return told(logged_now, expected["trips"])


def test_a_model_predicts_the_same_where_the_project_is_not_installed(
    logged_now: dict[str, str], here: dict[str, Any], expected: dict[str, Any]
) -> None:
    there = told(logged_now, expected["trips"], "-I", "-S", **without_project())
    assert there["minutes"] == here["minutes"]
    assert all(name.startswith(carried.carried_name()) for name in there["classes"].values())


def test_a_model_predicts_the_same_after_its_files_have_moved(
    tmp_path: Path, logged_now: dict[str, str], here: dict[str, Any], expected: dict[str, Any]
) -> None:
    moved = tmp_path / "taxi_nb"
    shutil.copytree(REPOSITORY / "taxi_nb", moved, ignore=shutil.ignore_patterns("__pycache__"))
    (moved / "models" / "features.py").rename(moved / "models" / "matrix.py")
    for file in moved.rglob("*.py"):
        text = file.read_text()
        text = text.replace("from .features import", "from .matrix import")
        text = text.replace("taxi_nb.models.features import", "taxi_nb.models.matrix import")
        file.write_text(text.replace('".features.PairAndDistance"', '".matrix.PairAndDistance"'))
    there = told(logged_now, expected["trips"], PYTHONPATH=str(tmp_path))
    assert there["minutes"] == here["minutes"]
    assert there["project"][0] == str(moved / "__init__.py")
    assert there["classes"]["linear"] == f"{carried.carried_name()}.features"


def test_what_a_model_carries_is_small_and_needs_nothing_else_of_the_project(
    logged_now: dict[str, str],
) -> None:
    (copy,) = Path(logged_now["linear"], "code").iterdir()
    assert copy.name == carried.carried_name()
    files = [path for path in copy.iterdir() if path.suffix == ".py"]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 2_500
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not (node.module or "").startswith("taxi_nb"), path
            elif isinstance(node, ast.Import):
                assert not [one.name for one in node.names if one.name.startswith("taxi_nb")], path


def test_code_that_was_edited_since_it_was_imported_trains_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = tmp_path / "models"
    shutil.copytree(CODE_OF_MODELS, edited)
    monkeypatch.setattr(carried, "_FOLDER", edited)
    carried.require_unchanged()
    with (edited / "linear.py").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(RuntimeError, match=r"linear\.py in .* changed.*restart the kernel"):
        carried.require_unchanged()


def test_a_file_with_other_line_ends_is_the_same_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "models"
    shutil.copytree(CODE_OF_MODELS, checkout)
    for file in checkout.glob("*.py"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr(carried, "_FOLDER", checkout)
    carried.require_unchanged()
