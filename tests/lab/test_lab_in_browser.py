"""JupyterLab as `make lab` opens it: a notebook of ours, run with a pipeline's parameters."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import nbformat
import psutil
import pytest
import requests
from jupyter_client.blocking import BlockingKernelClient
from playwright.sync_api import Browser, Locator, Page, expect

from taxi_nb.cli.init import init
from tests.conftest import REPOSITORY, Project, runs_of
from tests.running import Run, wait_for

pytestmark = pytest.mark.slow

PREFIX = "/user/ada"


@pytest.fixture
def lab(project: Project, store: str) -> Iterator[str]:
    """Lab's address, in a copy of the project."""
    for folder in ("params", "notebooks"):
        shutil.copytree(REPOSITORY / folder, project.root / folder, dirs_exist_ok=True)
    with lab_in(project.root, "notebooks/01_ingest.ipynb") as address:
        yield address


@contextmanager
def lab_in(root: Path, *opened: str) -> Iterator[str]:
    """Start Lab as `make lab` does, and give its address.

    It is below a prefix, as JupyterHub gives each of its users one.
    """
    port_file = root / "lab.log"
    arguments = ["--no-browser", "--IdentityProvider.token=word", "--port=0"]
    arguments += [f"--ServerApp.base_url={PREFIX}", *["--allow-root"][: os.geteuid() == 0]]
    with port_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "taxi_nb", "lab", *opened, "--", *arguments],
            cwd=root,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(root), "TAXI_NB_ROOT": str(root)},
            start_new_session=True,
        )
    address = re.compile(r"http://127\.0\.0\.1:\d+")
    try:
        wait_for(lambda: process.poll() is not None or address.search(port_file.read_text()))
        found = address.search(port_file.read_text())
        assert found is not None, port_file.read_text()
        yield found[0] + PREFIX
    finally:
        if process.poll() is None:
            end_all(psutil.Process(process.pid))


def end_all(server: psutil.Process) -> None:
    """End a server and the kernels that it started."""
    family = [*server.children(recursive=True), server]
    os.killpg(server.pid, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=15)
    for one in left:
        one.kill()


def with_pipeline_parameters(notebook: Path) -> None:
    """Put the line that a user would type after the parameters cell."""
    content = nbformat.read(notebook, as_version=4)
    cell = nbformat.v4.new_code_cell("%params params/smoke.yaml")
    content.cells.insert(2, cell)
    nbformat.write(content, notebook)


def test_a_notebook_runs_in_lab_with_a_pipelines_parameters(
    lab: str, project: Project, store: str, browser: Browser
) -> None:
    with_pipeline_parameters(project.root / "notebooks" / "03_train.ipynb")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/notebooks/03_train.ipynb?token=word")
    expect(page.get_by_role("heading", name="3. How well does a model do?")).to_be_visible(
        timeout=60_000
    )
    run_all_cells(page)
    parameters = page.locator(".jp-OutputArea-output", has_text="Set as params/smoke.yaml")
    expect(parameters).to_contain_text("sample_rows", timeout=60_000)
    expect(parameters).to_contain_text("3000")
    expect(parameters).to_contain_text("03_train[xgboost], too")
    figures = page.locator(".jp-OutputArea-output img")
    expect(figures).to_have_count(2, timeout=180_000)
    result = page.locator(".jp-OutputArea-output", has_text="There is no champion")
    expect(result.get_by_role("link", name=re.compile("run "))).to_be_visible()
    expect(result).to_contain_text("Top to bottom: yes.")
    expect(page.get_by_text("Conclusion.").last).to_be_visible(timeout=30_000)
    # Lab asks on its first start whether it may fetch news.
    expect(page.locator(".Toastify__toast, .jp-toast-message")).to_have_count(0)
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"
    assert run.data.tags["notebook"] == "notebooks/03_train.ipynb"
    assert run.data.metrics["training_trips"] < 3_000
    assert run.data.tags["taxi_nb.top_to_bottom"] == "yes"
    kept = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/source/03_train.ipynb")
    assert "%params params/smoke.yaml" in kept
    executed = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/source/executed_cells.py")
    assert executed.index("# In [1]\nfrom taxi_nb import") < executed.index("result = train(")
    given = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/parameters.yaml")
    assert "sample_rows: 3000\n" in given
    renamed_while_it_runs(lab, project)
    assert "notebooks/renamed.ipynb" in {r.data.tags["notebook"] for r in runs_of(store)}
    context.close()


def test_a_runs_page_is_shown_in_lab_with_its_figures_and_links(
    lab: str, project: Project, run: Run, browser: Browser
) -> None:
    figure = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
    project.notebook("01_look", "#md # What do we see?", figure)
    project.notebook("02_fails", "doubled = 2 * seed", "1 / 0", parameters="seed: int = 4  # a")
    project.notebook("03_report", "%report", "%reopen", "print(doubled)", parameters=None)
    record, folder = run("steps: [{notebook: 01_look}, {notebook: 02_fails}]")
    (folder / "own.html").write_text("<script>document.title = 'owned'</script><p>hers</p>")
    (project.root / "runs" / "out").symlink_to(project.root / "params")
    (project.root / "runs" / ".hidden").write_text("one's own")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{lab}/lab/tree/notebooks/03_report.ipynb?token=word")
    run_all_cells(page)
    shown = page.frame_locator(f"iframe[title='The page of {record.id}']")
    expect(shown.get_by_role("heading", name="This run")).to_be_visible(timeout=60_000)
    # The step that failed is in the kernel; its cell is below, not executed.
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text="02_fails of the run")).to_contain_text("executed here")
    expect(outputs.last).to_have_text("8")
    expect(page.locator(".jp-Cell .cm-content", has_text="1 / 0")).to_have_count(1)
    # Figures are loaded, and links lead to pages inside Lab.
    assert widths(shown.locator("img[src^='figures/']")) == [556]
    page.screenshot(path=os.environ.get("TAXI_NB_SCREENSHOT") or project.root / "lab.png")
    shown.locator("a[href^='01_look.html']").first.click()
    expect(shown.locator("img[src^='data:']")).to_be_visible(timeout=30_000)
    assert widths(shown.locator("img[src^='data:']")) == [556]
    # Its own script runs; no other does, not even from the same folder.
    with context.expect_page() as opened:
        page.get_by_role("button", name="Open in a tab of the browser").click()
    tab = opened.value
    expect(tab.get_by_role("heading", name="This run")).to_be_visible(timeout=30_000)
    complaints: list[str] = []
    tab.on("console", lambda said: complaints.append(said.text))
    tab.reload()
    assert not complaints
    tab.goto(f"{lab}/taxi-nb/runs/{record.id}/own.html")
    assert tab.title() != "owned"
    assert "Content Security Policy" in str(complaints)
    context.close()
    assert answers(lab, "latest/index.html", f"{record.id}/index.html") == [200, 200]
    assert answers(lab, "latest/index.html", token="other") == [302]  # To where one logs in.
    for name in ("out/smoke.yaml", "../mlflow.db", "%2e%2e/mlflow.db", ".hidden", "none"):
        assert answers(lab, name)[0] in (403, 404)


def test_the_launcher_runs_the_pipeline_and_shows_its_page(
    lab: str, project: Project, browser: Browser
) -> None:
    project.notebook("01_look", "#md # What do we see?")
    project.pipeline("steps: [{notebook: 01_look}]", "default")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.goto(f"{lab}/lab?token=word")
    cards = page.locator(".jp-LauncherCard")
    expect(cards.filter(has_text="MLflow")).to_be_visible(timeout=120_000)
    assert "Which steps of" in str(cards.filter(has_text="Plan").get_attribute("title"))
    if picture := os.environ.get("TAXI_NB_SCREENSHOT"):
        page.screenshot(path=f"{picture}.cards.png")
    cards.filter(has_text=re.compile("^Run$")).click()
    wait_for(lambda: [*project.root.glob("runs/*/index.html")], 180)
    page.get_by_role("tab", name="Launcher").click()
    cards.filter(has_text="Report").click()
    shown = page.frame_locator(".jp-IFrame iframe")
    expect(shown.get_by_role("heading", name="This run")).to_be_visible(timeout=60_000)
    context.close()


def test_an_empty_lab_becomes_a_step_and_its_report(
    tmp_path: Path, store: str, browser: Browser
) -> None:
    """In a project of one's own, as `taxi-nb init` makes it."""
    root = tmp_path / "springs"
    init(root)
    (root / "params" / "default.yaml").write_text("steps: []\n")
    with lab_in(root) as lab:
        write_a_step_and_look_at_its_report(lab, root, browser)


def write_a_step_and_look_at_its_report(lab: str, root: Path, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    actions: list[str] = []
    outputs = page.locator(".jp-OutputArea-output")

    def after(action: str) -> None:
        """Count what a person did; TAXI_NB_SCREENSHOT names where a picture of it goes."""
        actions.append(action)
        if picture := os.environ.get("TAXI_NB_SCREENSHOT"):
            page.screenshot(path=f"{picture}.{len(actions)}.png")

    def execute(cell: str, shows: str) -> None:
        page.locator(".jp-Notebook .cm-content").last.click()
        page.keyboard.type(cell)
        page.keyboard.press("Shift+Enter")
        expect(outputs.last).to_contain_text(shows, timeout=60_000)

    page.goto(f"{lab}/lab?token=word")
    cards = page.locator(".jp-LauncherCard")
    cards.filter(has_text="Python 3 (ipykernel)").first.click(timeout=120_000)
    wait_for_kernel(page)
    execute("rows = 3\nprint('squares', [n * n for n in range(rows)])", "squares [0, 1, 4]")

    page.keyboard.press("Control+s")
    page.get_by_role("button", name="Rename and Save").click()
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    after("save")
    execute("%to_step 08_squares", "Names that could be parameters: rows")
    after("look")
    execute("%to_step 08_squares rows --write", "Written: notebooks/08_squares.ipynb, a step of")
    after("write")
    assert actions == ["save", "look", "write"]  # A step, in three actions at most.

    page.get_by_title("New Launcher", exact=True).click()
    cards.filter(has_text=re.compile("^Run$")).click()
    wait_for(lambda: [*root.glob("runs/*/index.html")], 180)
    after("run")
    page.get_by_role("tab", name="Launcher").click()
    cards.filter(has_text="Report").click()
    shown = page.frame_locator(".jp-IFrame iframe")
    expect(shown.get_by_role("link", name="08_squares").first).to_be_visible(timeout=60_000)
    after("report")
    context.close()


def answers(lab: str, *names: str, token: str = "word") -> list[int]:
    """What the server answers who asks for files in ``runs/``."""
    headers = {"Authorization": f"token {token}"}
    codes = []
    for name in names:
        address = f"{lab}/taxi-nb/runs/{name}"
        asked = requests.get(address, headers=headers, timeout=10, allow_redirects=False)
        codes.append(asked.status_code)
    return codes


def widths(pictures: Locator) -> list[int]:
    """The widths of pictures; of one that could not be loaded there is none."""
    pictures.first.scroll_into_view_if_needed(timeout=30_000)
    wait_for(lambda: pictures.evaluate_all("all => all.every(one => one.complete)"))
    return pictures.evaluate_all("all => all.map(one => one.naturalWidth)")


def renamed_while_it_runs(lab: str, project: Project) -> None:
    """Rename the notebook as Lab does it, and open another run in its kernel."""
    headers = {"Authorization": "token word"}
    (session,) = requests.get(f"{lab}/api/sessions", headers=headers, timeout=10).json()
    new = {"path": "notebooks/renamed.ipynb"}
    for address in (f"contents/{session['path']}", f"sessions/{session['id']}"):
        done = requests.patch(f"{lab}/api/{address}", json=new, headers=headers, timeout=10)
        assert done.ok, done.text
    (connection,) = project.root.rglob(f"kernel-{session['kernel']['id']}.json")
    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    client.start_channels()
    code = "from taxi_nb import tracked_run\nwith tracked_run('again'):\n    pass"
    reply = client.execute_interactive(code, timeout=60)
    client.stop_channels()
    assert reply["content"]["status"] == "ok", reply["content"]


def wait_for_kernel(page: Page) -> None:
    """What is run before the kernel has answered is not run at all."""
    idle = page.get_by_role("button", name="Python 3 (ipykernel) | Idle")
    expect(idle).to_be_visible(timeout=60_000)


def run_all_cells(page: Page) -> None:
    wait_for_kernel(page)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
