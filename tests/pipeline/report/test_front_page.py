"""What a run's page says first, its picture, and with which run it is compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

from taxi_nb.pipeline.record import RunRecord, Status, StepError, StepResult
from taxi_nb.pipeline.report._comparison import compare
from taxi_nb.pipeline.report._graph import Graph
from taxi_nb.pipeline.report._links import Links
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.past import RunOnDisk, last_good, runs_before
from taxi_nb.pipeline.report.site import write_live_page, write_site
from taxi_nb.tracking.outcomes import Decided, TrainedModel
from tests.pipeline.report.test_report import INPUTS, a_run

DATA = {"data/a.csv": {"name": None, "digest": "d1"}}


def told(page: str) -> str:
    """Return the words of a page, without its style, script and markup."""
    body = page[page.index("<main") : page.index("<script>")]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def first_screen(page: Path) -> str:
    return told(page.read_text()).partition(" Models ")[0]


def with_models(*values: float) -> tuple[TrainedModel, ...]:
    return tuple(
        TrainedModel(f"m{n}", "01_a", str(n), {"valid_rmse": v}) for n, v in enumerate(values)
    )


def test_the_answers_come_first_with_unit_and_uncertainty(tmp_path: Path) -> None:
    folder = a_run(
        tmp_path,
        metrics={"valid_rmse": 5.25, "rmse": 5.25, "rmse_error": 0.0512},
        models=with_models(6.0, 5.25),
        units={"rmse": "tonnes"},
        decision="m1 promoted",
        champion="m, version 2",
        decided=Decided("01_a", promoted=True),
    )
    said = first_screen(write_site(folder))
    assert "Decision m1 promoted." in said
    assert "m1 of 01_a validation RMSE 5.250 ± 0.051 tonnes , the best of 2" in said
    assert "m, version 2 , made so by this run" in said
    assert "Since the last good run No run of this pipeline here ended well before" in said
    assert "Checks of the data None made." in said


def test_what_is_not_there_is_not_claimed(tmp_path: Path) -> None:
    plain = first_screen(write_site(a_run(tmp_path / "1", metrics={})))
    assert "None: no step decided about a model." in plain
    assert "This run trained no model." in plain
    assert "Champion" not in plain
    failed = {"status": Status.FAILED, "error": StepError(4, "KeyError", "'x'")}
    folder = a_run(tmp_path / "2", step=failed, metrics={})
    record = RunRecord.read(folder / "run.json")
    said = first_screen(write_site(folder, record=replace(record, status=Status.FAILED)))
    assert "01_a failed: cell 4: KeyError: 'x'" in said
    assert "None: the run failed." in said
    assert "trained no model" not in said


def test_a_run_is_compared_with_the_last_that_ended_well(tmp_path: Path) -> None:
    a_run(tmp_path, "1", parameters={"alpha": 0.1})
    for number in range(2, 35):
        folder = a_run(tmp_path, str(number), parameters={"alpha": "0.l"})
        record = RunRecord.read(folder / "run.json")
        (folder / "run.json").write_text(replace(record, status=Status.FAILED).to_json())
    folder = a_run(tmp_path, "99", parameters={"alpha": 0.2})
    earlier, _ = runs_before(RunOnDisk.read(folder))
    good = last_good(earlier)
    assert good is not None
    assert good.record.id == "1"
    assert "Parameters: alpha 0.1 → , now 0.2" in first_screen(write_site(folder))


@pytest.mark.parametrize(
    ("before", "now", "better"),
    [
        (DATA, DATA, True),
        (DATA, {"data/a.csv": {"name": None, "digest": "d2"}}, None),
        (DATA, {}, None),
        ({}, {}, None),
        # Other bytes of which the same was made.
        (
            {"a": {"name": "a", "digest": "1", "content": "c"}},
            {"b": {"name": "a", "digest": "2", "content": "c"}},
            True,
        ),
    ],
)
def test_better_is_said_only_of_the_same_data(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], better: bool | None
) -> None:
    old = a_run(tmp_path, "1", inputs={**INPUTS, "files": before}, metrics={"valid_rmse": 6.5})
    new = a_run(tmp_path, "2", inputs={**INPUTS, "files": now}, metrics={"valid_rmse": 6.0})
    (change,) = compare(RunOnDisk.read(old), RunOnDisk.read(new)).metrics
    assert change.better is better


def test_data_of_a_step_before_counts_too(tmp_path: Path) -> None:
    folders = []
    for number, digest in (("1", "d1"), ("2", "d2")):
        files = {"data/a.csv": {"name": None, "digest": digest}}
        folder = a_run(tmp_path, number, inputs={**INPUTS, "files": files})
        record = RunRecord.read(folder / "run.json")
        (folder / "02_b.inputs.json").write_text(json.dumps({**INPUTS, "files": DATA}))
        second = replace(
            record.steps[0],
            name="02_b",
            inputs="02_b.inputs.json",
            needs=("01_a",),
            metrics={"valid_rmse": float(number)},
        )
        steps = (replace(record.steps[0], needs=()), second)
        (folder / "run.json").write_text(replace(record, steps=steps).to_json())
        folders.append(folder)
    found = compare(*map(RunOnDisk.read, folders))
    assert found.on_same_data == frozenset()


def test_a_module_that_one_run_imported_more_is_no_change_of_code(tmp_path: Path) -> None:
    modules: dict[str, Any] = INPUTS["modules"]  # type: ignore[assignment]
    more = {**modules, **{f"taxi_nb/m{n}.py": {"f": "1"} for n in range(70)}}
    old = RunOnDisk.read(a_run(tmp_path, "1", inputs=INPUTS))
    new = RunOnDisk.read(a_run(tmp_path, "2", inputs={**INPUTS, "modules": more}))
    found = compare(old, new)
    assert found.code == ()
    assert found.code_says == "No code changed: both ran commit aaaaaaaaaa as it is."
    # What is not below the project is not the commit's.
    outside = {**modules, "/opt/shared/rules.py": {"f": "1"}}
    with_it = RunOnDisk.read(a_run(tmp_path, "5", inputs={**INPUTS, "modules": outside}))
    (elsewhere,) = compare(old, with_it).code
    assert elsewhere.after == "1: /opt/shared/rules.py"
    # Of another commit it may be new: one line says so.
    other = RunOnDisk.read(
        a_run(tmp_path, "3", commit="b" * 40, inputs={**INPUTS, "modules": more})
    )
    _, imported = compare(old, other).code
    assert imported.what == "modules that one of them imported"
    assert str(imported.after).startswith("70: taxi_nb/m0.py, ")
    # The same commit with changes on top may be other code.
    dirty = RunOnDisk.read(a_run(tmp_path, "4", dirty=True, inputs=INPUTS))
    assert "No code changed" not in str(compare(old, dirty).code_says)


def test_parameters_of_all_steps_are_those_that_all_have(tmp_path: Path) -> None:
    folder = a_run(tmp_path, parameters={"seed": 1, "alpha": 2, "once": 3})
    record = RunRecord.read(folder / "run.json")
    others = ({"seed": 1, "alpha": 2}, {"seed": 1})
    added = (
        replace(record.steps[0], name=f"0{n}_b", parameters=given) for n, given in enumerate(others)
    )
    page = write_site(folder, record=replace(record, steps=(*record.steps, *added))).read_text()
    shared = page[page.index("Parameters of all steps") :].partition("</dd>")[0]
    assert re.findall(r"<code>(\w+) = ", shared) == ["seed"]


@pytest.mark.parametrize(
    ("source", "outputs", "conclusion"),
    [
        ("", ["**Conclusion.** It *is* `so`."], "It *is* `so`."),
        ("## 3. Conclusion\n\nIt is so.", [], "It is so."),
        ("## Conclusions", ["It is so."], "It is so."),
        ("Conclusion: it is so", [], "it is so"),
        ("Conclusion of this is nothing", ["no word of it"], None),
        ("# A title", [], None),
    ],
)
def test_a_conclusion_is_found_however_it_is_written(
    tmp_path: Path, source: str, outputs: list[str], conclusion: str | None
) -> None:
    notebook = nbformat.v4.new_notebook()
    shown = [nbformat.v4.new_output("display_data", {"text/markdown": text}) for text in outputs]
    notebook.cells = [nbformat.v4.new_markdown_cell(source)] if source else []
    notebook.cells.append(nbformat.v4.new_code_cell("x", outputs=shown))
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert ExecutedNotebook(tmp_path / "a.ipynb").conclusion == conclusion


def test_a_failed_step_has_no_conclusion_and_one_that_ended_well_cannot_format(
    tmp_path: Path,
) -> None:
    said = "**Conclusion.** <script>x()</script> **so** it is [a](http://e.com)"
    output = nbformat.v4.new_output("display_data", {"text/markdown": said})
    page = write_site(a_run(tmp_path / "1", outputs=[output])).read_text()
    shown = page[page.index('<p class="conclusion">') :].partition("</p>")[0]
    assert "&lt;script&gt;x()&lt;/script&gt; <strong>so</strong> it is [a](" in shown
    failed = {"status": Status.FAILED, "error": StepError(1, "E", "e")}
    page = write_site(a_run(tmp_path / "2", outputs=[output], step=failed)).read_text()
    assert '<p class="conclusion">' not in page


def steps(*described: tuple[str, Sequence[str], Status, Sequence[str]]) -> list[StepResult]:
    return [
        StepResult(name, f"{name}.ipynb", status=status, needs=tuple(needs), because=tuple(why))
        for name, needs, status, why in described
    ]


def test_the_picture_has_what_is_needed_and_the_reason_where_it_lies() -> None:
    models = [f"train[{n}]" for n in "abc"]
    found = Graph.of(
        steps(
            ("read", [], Status.CACHED, []),
            *((model, ["read"], Status.OK, []) for model in models),
            ("judge", ["read", *models], Status.OK, models),
            ("decide", ["read", *models, "judge"], Status.SKIPPED, ["judge"]),
        )
    )
    assert found is not None
    assert [box.name for box in found.boxes] == ["read", "train", "judge", "decide"]
    # What other edges say is not drawn.
    assert found.edges == (("read", "train"), ("train", "judge"), ("judge", "decide"))
    pictures = dict(found.pictures(Links([box.steps[0] for box in found.boxes])))
    assert set(pictures) == {"wide", "narrow"}
    for picture in pictures.values():
        assert picture.count('class="edge"') == 1
        assert picture.count('class="edge why"') == 2
        assert picture.count(">new result<") == 2
        assert "3 ok" in picture
        for status in ("cached", "ok", "skipped"):
            assert f'class="mark {status}"' in picture


def test_a_failed_step_is_named_on_the_edge_to_what_it_kept_from_running() -> None:
    found = Graph.of(
        steps(
            ("a", [], Status.TIMEOUT, []),
            ("b", ["a"], Status.SKIPPED, ["a"]),
            ("c", ["a", "b"], Status.SKIPPED, ["a", "b"]),
        )
    )
    assert found is not None
    assert found.edges == (("a", "b"), ("b", "c"))
    (_, picture), *_ = found.pictures(Links([box.steps[0] for box in found.boxes]))
    assert '<text class="label edge why bad"' in picture
    assert ">timeout<" in picture


def test_two_hundred_steps_are_one_box_or_a_list(tmp_path: Path) -> None:
    matrix = steps(*((f"a[{n}]", [], Status.OK, []) for n in range(200)))
    found = Graph.of(matrix)
    assert found is not None
    (box,) = found.boxes
    assert box.says == "200 ok"
    folder = a_run(tmp_path)
    record = RunRecord.read(folder / "run.json")
    chain = steps(*((f"s{n}", [f"s{n - 1}"] if n else [], Status.OK, []) for n in range(200)))
    page = write_site(folder, record=replace(record, steps=tuple(chain)))
    said = told(page.read_text())
    assert "200 steps are too many for a picture." in said
    assert "s199 : ok; needs s198" in said
    assert page.stat().st_size < 400_000


def test_a_record_that_says_nothing_of_needs_gets_no_picture(tmp_path: Path) -> None:
    page = write_site(a_run(tmp_path)).read_text()
    assert 'id="pipeline"' not in page
    assert 'class="graph"' not in page


def test_every_page_names_made_up_data_also_of_steps_that_loaded_none(tmp_path: Path) -> None:
    folder = a_run(tmp_path, step={"data_source": "sample (synthetic)", "needs": ()})
    record = RunRecord.read(folder / "run.json")
    (folder / "02_b.ipynb").write_bytes((folder / "01_a.ipynb").read_bytes())
    reused = {"status": Status.CACHED, "reused_from": "old", "data_source": None}
    second = replace(
        record.steps[0],
        name="02_b",
        executed_notebook="02_b.ipynb",
        html="02_b.html",
        needs=("01_a",),
        **reused,  # type: ignore[arg-type]
    )
    # As an older commit made it: without the label.
    write_site(folder, record=replace(record, steps=(replace(second, needs=()),)))
    assert "sample (synthetic)" not in (folder / "02_b.html").read_text()
    write_site(folder, record=replace(record, steps=(*record.steps, second)))
    for name in ("index.html", "01_a.html", "02_b.html"):
        assert "<strong>sample (synthetic)</strong>" in (folder / name).read_text(), name


def test_the_page_of_a_run_that_goes_on_says_how_far_it_has_come(tmp_path: Path) -> None:
    folder = a_run(tmp_path, step={"status": Status.RUNNING, "html": None}, metrics={})
    record = RunRecord.read(folder / "run.json")
    going_on = replace(record, status=Status.RUNNING, seconds=None)
    write_live_page(folder, going_on)
    said = first_screen(folder / "index.html")
    assert "0 of 1 steps are done; at work: 01_a. As of " in said
    assert "Decision" not in said
    assert 'http-equiv="refresh"' in (folder / "index.html").read_text()
    page = write_site(folder, record=record).read_text()
    assert 'http-equiv="refresh"' not in page
    assert "data-live=" not in page
