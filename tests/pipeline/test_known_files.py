"""A pipeline file that has not changed is not parsed again, and says the same."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from taxi_nb import located_yaml
from taxi_nb.located_yaml import LocatedYaml
from taxi_nb.pipeline import file_digest
from taxi_nb.pipeline.memory import known_digests
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import Pipeline, PipelineFileError
from tests.conftest import Project

PLAIN = """
params: {alpha: 0.5, names: [a, b]}
steps:
  - {notebook: 01_a, timeout: 2m, retries: 1, memory: 2G, matrix: {seed: [1, 2]}}
  - notebook: 02_b
"""
# JSON would make a text of the key.
WITH_A_NUMBER_AS_KEY = "params: {options: {1: one}}\nsteps: [{notebook: 02_b}]"
WITH_A_MISTAKE = "steps:\n  - notebook: 02_b\n    params: {alpha: low}\n"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that were parsed."""
    names: list[str] = []
    parse = located_yaml.read_located_yaml

    def counted(path: Path) -> LocatedYaml:
        names.append(path.stem)
        return parse(path)

    monkeypatch.setattr(located_yaml, "read_located_yaml", counted)
    # As in a process that began after the last edit of the package.
    monkeypatch.setattr(file_digest, "_STARTED", time.time() + 10)
    file_digest._code.cache_clear()
    return names


def read(project: Project, name: str) -> Pipeline:
    """Read a file as a command does that has just begun."""
    digests = known_digests(project.root)
    file = project.root / "params" / f"{name}.yaml"
    pipeline = read_pipeline(file, project.root, digests=digests)
    digests.save()
    return pipeline


def test_a_file_is_parsed_again_only_if_it_has_changed(project: Project, parsed: list[str]) -> None:
    parameters = "alpha: float = 0.1\nseed: int = 1\nnames: list = []\noptions: dict = {}"
    for notebook in ("01_a", "02_b"):
        project.notebook(notebook, "1", parameters=parameters)
    texts = {"plain": PLAIN, "numbered": WITH_A_NUMBER_AS_KEY, "wrong": WITH_A_MISTAKE}
    for name, text in texts.items():
        (project.root / "params" / f"{name}.yaml").write_text(text)
    read(project, "plain")
    read(project, "plain")
    assert parsed == ["plain", "plain"], "its stamp is too young to be trusted"
    time.sleep(file_digest.TICK_SECONDS + 0.1)
    del parsed[:]

    made, known = read(project, "plain"), read(project, "plain")
    assert parsed == ["plain"]
    assert known == made
    assert [step.timeout for step in known.steps] == [120, 120, None]
    assert [step.parameters["seed"] for step in known.steps[:2]] == [1, 2]

    assert read(project, "numbered") == read(project, "numbered")
    assert read(project, "numbered").steps[0].parameters["options"] == {1: "one"}

    for _ in range(2):
        with pytest.raises(PipelineFileError, match=r"wrong.yaml:3: .*alpha"):
            read(project, "wrong")

    # A mistake that only shows with the notebook: the line is that of the file as it is.
    project.notebook("02_b", "1", parameters=parameters.replace("float", "bool"))
    with pytest.raises(PipelineFileError, match=r"plain.yaml:2: .*alpha"):
        read(project, "plain")

    (project.root / "params" / "plain.yaml").write_text(PLAIN.replace("2m", "3m"))
    project.notebook("02_b", "1", parameters=parameters)
    assert [step.timeout for step in read(project, "plain").steps] == [180, 180, None]


def test_other_code_reads_the_file_anew(
    project: Project, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.notebook("01_a", "1")
    (project.root / "params" / "one.yaml").write_text("steps: [{notebook: 01_a}]")
    time.sleep(file_digest.TICK_SECONDS + 0.1)
    for code, times in (("before", 1), ("before", 1), ("after", 2), ("after", 2), (None, 3)):
        monkeypatch.setattr(file_digest, "_code", lambda code=code: code)
        read(project, "one")
        assert parsed == ["one"] * times
