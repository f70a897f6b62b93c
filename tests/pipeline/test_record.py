"""What a run leaves on disk is whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from taxi_nb.pipeline._results import KeptResults
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.record import (
    RunRecord,
    Status,
    StepError,
    StepResult,
    file_names,
    make_run_folder,
    point_latest_at,
)
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import write_whole

RECORD = RunRecord(
    id="20210101-000000-test",
    pipeline="test",
    parameter_file="params/test.yaml",
    status=Status.FAILED,
    started="2021-01-01T00:00:00+00:00",
    tracking_uri="sqlite:///mlflow.db",
    experiment="e",
    mlflow_run_id="abc",
    steps=(
        StepResult("01_a", "notebooks/01_a.ipynb", {"x": [1]}, Status.OK, 1.5),
        StepResult(
            "02_b[é]",
            "notebooks/02_b.ipynb",
            {},
            Status.KERNEL_DIED,
            error=StepError(3, "KernelDied", "gone"),
        ),
    ),
    seconds=2.0,
)


def test_a_record_comes_back_as_it_was() -> None:
    assert RunRecord.from_json(RECORD.to_json()) == RECORD


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"steps": 3}', RECORD.to_json()[:-40]])
def test_half_a_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RunRecord.from_json(text)


def test_only_ok_and_cached_let_others_run() -> None:
    assert {status for status in Status if status.is_good} == {Status.OK, Status.CACHED}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    texts = {letter: letter * 200_000 for letter in "ab"}
    write_whole(path, texts["a"])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for text in texts.values():
                write_whole(path, text)

    writer = threading.Thread(target=write)
    writer.start()
    seen = {path.read_text() for _ in range(300)}
    stop.set()
    writer.join()
    assert seen <= set(texts.values())
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = {make_run_folder(tmp_path, "default") for _ in range(5)}
    assert len(folders) == 5
    for folder in sorted(folders):
        point_latest_at(folder)
        assert (tmp_path / "latest").resolve() == folder


def test_every_step_has_a_file_name_of_its_own() -> None:
    steps = ["03_train[a b]", "03_train[a-b]", "../../etc/passwd", "03_train[a/b]", "index"]
    names = file_names(steps)
    assert len(set(names.values())) == 5
    assert "index" not in names.values()
    assert not [name for name in names.values() if "/" in name or name.startswith(".")]


def test_the_name_of_a_deleted_run_is_not_given_again(tmp_path: Path) -> None:
    """Results that its steps left would be taken for those of the new run."""
    first = make_run_folder(tmp_path, "p")
    first.rmdir()
    again = make_run_folder(tmp_path, "p", is_taken=lambda name: name == first.name)
    assert again != first


STORED = Path(__file__).parent / "data"


def test_a_record_of_an_earlier_commit_is_read_and_written_as_it_was() -> None:
    text = (STORED / "run_of_3c1461c.json").read_text()
    record = RunRecord.from_json(text)
    assert [step.status for step in record.steps] == [Status.OK] * 3
    assert record.steps[1].parameters["model"] == "linear"
    assert json.loads(record.to_json()) == json.loads(text)


def test_a_kept_result_of_an_earlier_commit_is_found_and_kept_again(tmp_path: Path) -> None:
    text = (STORED / "kept_result_of_3c1461c.json").read_text()
    key = json.loads(text)["inputs"]
    folder = tmp_path / ".results" / "keys" / from_plain(Inputs, key).key
    folder.mkdir(parents=True)
    (folder / "20261125-132423-default-abcdef.json").write_text(text)
    results = KeptResults(tmp_path)
    (found,) = results.candidates("default", "06_register", folder.name)
    assert found.used is not None
    assert found.used.asked[0].kind == "training"
    assert to_json(found.used.modules) == to_json(key["modules"])
    results.keep("default", found)
    both = KeptResults(tmp_path).candidates("default", "06_register", folder.name)
    assert len(both) == 2
    assert all(vars(one) == vars(found) for one in both)


def test_results_of_an_earlier_commit_are_found_with_what_they_have_in_common(
    tmp_path: Path,
) -> None:
    shutil.copytree(STORED / "results_of_14c5aff", tmp_path / ".results")
    (found,) = KeptResults(tmp_path).candidates("default", "06_register", "c2bc4c8a48378812")
    older = json.loads((STORED / "kept_result_of_3c1461c.json").read_text())
    assert found.used is not None
    assert found.used.key == "c2bc4c8a48378812"
    assert json.loads(to_json(found.used.modules)) == older["inputs"]["modules"]
    assert found.used.packages == older["inputs"]["packages"]
