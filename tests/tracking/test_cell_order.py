"""Whether a run from a notebook says that its cells ran from the top down, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.conftest import Project, runs_of

A, B, C = "a = 1", "b = a + 1", "from taxi_nb import tracked_run\nwith tracked_run('c'):\n    pass"


@pytest.fixture
def shell(
    project: Project, monkeypatch: pytest.MonkeyPatch, store: str
) -> Iterator[InteractiveShell]:
    """The shell of a notebook in JupyterLab."""
    monkeypatch.setenv("JPY_SESSION_NAME", str(project.root / "notebooks/01_a.ipynb"))
    made = InteractiveShell.instance()
    yield made
    made.history_manager.end_session()  # type: ignore[union-attr]
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("notebook", "ran", "said"),
    [
        ([A, B, C], [A, B, C], "yes"),
        (["#md # A title", A, "", "# a remark", C], [A, C], "yes"),
        ([A, A, C], [A, A, C], "yes"),
        ([A, C], [A, "%plan params/x.yaml", "tracked_run?", C], "yes"),
        ([A, B, C], [A, C], "no: cell 2 did not run"),
        ([B, A, C], [A, B, C], "no: cell 1 ran after cell 2"),
        ([A, B, C], [A, B, B, C], "no: cell 2 ran twice"),
        (
            [B, C],
            [A, B, C],
            "no: a cell ran that has been changed or deleted since, and a came from there",
        ),
        (
            ["a = 2", C],
            [A, "a = 2", C],
            "no: a cell ran that has been changed or deleted since",
        ),
        (
            [A],
            [A, C],
            "no: the notebook on disk has no such cell as the one that ran last: save it before",
        ),
    ],
)
def test_a_run_says_whether_its_cells_ran_from_the_top_down(
    shell: InteractiveShell,
    project: Project,
    store: str,
    notebook: list[str],
    ran: list[str],
    said: str,
) -> None:
    project.notebook("01_a", *notebook, parameters=None)
    for cell in ran:
        # A magic of ours that is not loaded here says so, and changes nothing.
        shell.run_cell(cell, store_history=True)
    (run,) = runs_of(store)
    assert run.data.tags["taxi_nb.top_to_bottom"] == said


@pytest.mark.parametrize(("ran", "said"), [([A, B, C], "yes"), ([A, C], "no: cell 2 did not run")])
def test_a_notebook_that_is_a_text_says_so_too(
    shell: InteractiveShell,
    project: Project,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    ran: list[str],
    said: str,
) -> None:
    text = project.root / "notebooks" / "01_a.py"
    text.write_text("".join(f"# %%\n{cell}\n\n" for cell in (A, B, C)))
    monkeypatch.setenv("JPY_SESSION_NAME", str(text))
    for cell in ran:
        shell.run_cell(cell, store_history=True)
    (run,) = runs_of(store)
    assert run.data.tags["taxi_nb.top_to_bottom"] == said


def test_a_script_and_a_step_say_nothing_of_it(project: Project, store: str) -> None:
    from taxi_nb import tracked_run

    with tracked_run("script"):
        pass
    (run,) = runs_of(store)
    assert "taxi_nb.top_to_bottom" not in run.data.tags
