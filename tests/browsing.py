"""A real headless Chromium, and sites made by real runs for it to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from taxi_nb.pipeline.kernels.pool import KernelPool, default_kind, in_one_order
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.run import run_pipeline
from tests.conftest import Project
from tests.running import Listener

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium as Debian packages it; TAXI_NB_BROWSER names another one.

    Not longer than a module: while Playwright is started, its event loop runs
    in this thread, and other tests could start none.
    """
    found = os.environ.get("TAXI_NB_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium, or set TAXI_NB_BROWSER")
    # Chromium's sandbox refuses root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=arguments)
        yield started
        started.close()


@dataclass
class Visit:
    """A page without network, and what it asked for and complained about."""

    page: Page
    requests: list[str]
    complaints: list[str]

    def open(self, file: Path, place: str = "") -> Page:
        """Go to a file on disk."""
        self.page.goto(file.as_uri() + place)
        return self.page


def visit(context: BrowserContext) -> Visit:
    """Open a tab that notes requests, console errors and dialogs."""
    made = Visit(context.new_page(), [], [])
    made.page.on("request", lambda request: made.requests.append(request.url))
    made.page.on(
        "console", lambda said: made.complaints.append(said.text) if said.type == "error" else None
    )
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))

    def refuse(dialog: object) -> None:
        made.complaints.append("a dialog opened")
        dialog.dismiss()  # type: ignore[attr-defined]

    made.page.on("dialog", refuse)
    return made


@pytest.fixture
def tab(browser: Browser) -> Iterator[Visit]:
    """A tab in a wide light window, with the network cut."""
    context = browser.new_context(
        viewport={"width": 1200, "height": 900}, color_scheme="light", offline=True
    )
    yield visit(context)
    context.close()


@dataclass(frozen=True)
class Sites:
    """The folders of runs, of one project."""

    first: Path
    second: Path
    failed: Path

    def pages(self) -> list[Path]:
        """Return every page of the second and of the failed run."""
        return [page for run in (self.second, self.failed) for page in sorted(run.rglob("*.html"))]


_LOOK = (
    "#md # What do we see?\n\nThe error is $\\frac{1}{n}\\sum_i |y_i - \\hat y_i|$.\n\n"
    "$$\\mathrm{RMSE} = \\sqrt{\\frac{1}{n}\\sum_i (y_i - \\hat y_i)^2}$$",
    "import matplotlib.pyplot as plt\nimport pandas as pd",
    "#md ## A figure",
    "figure, axes = plt.subplots(figsize=(4, 2))\naxes.plot([1, seed, 3])\nplt.show()",
    "#md ## A table\n\n- [x] made\n- [ ] read",
    "pd.DataFrame({'a_rather_long_heading': range(3), **{f'c{i}': [i] * 3 for i in range(20)}})",
    "print('\\x1b[31mred\\x1b[0m'); print('0%\\r50%\\r100%'); print('the seed is', seed)",
)
_TRAIN = (
    "#md # How good is it?",
    "import mlflow\nfrom taxi_nb import tracked_run",
    "scores = {'good': 4.5, 'better': 3.25, 'worse': 12.0}",
    "tags = {'model': model, 'data.source': 'sample (synthetic)'}\n"
    "with tracked_run(kind='training', tags=tags):\n"
    "    mlflow.log_metrics({'valid_rmse': scores[model] + seed / 10, 'fit_seconds': 0.1})",
)
_HOSTILE = (
    "#md # Hostile <script>document.title = 'owned'</script>\n\n"
    "<img src=x onerror=\"document.title = 'owned'\"> [click](javascript:document.title='owned') "
    "<iframe src='https://example.com'></iframe> ![pixel](https://example.com/pixel.png)\n\n"
    "<style>main { display: none }</style>"
    "<div id='content' class='alarm' style='position: fixed; inset: 0'>cover</div>\n\n"
    "$\\text{<script>document.title = 'owned'</script>}$",
    "from IPython.display import HTML, IFrame, Javascript, SVG, display",
    "display(HTML('''<b>bold</b><script>document.title = 'owned'</script>"
    "<img src='https://example.com/a.png'><a href='javascript:alert(1)' onclick='alert(2)'>link</a>"
    "<form action='https://example.com'><input name='a'></form>"
    "<meta http-equiv='refresh' content='0;url=https://example.com'>'''))",
    "display(Javascript(\"document.title = 'owned'\"))",
    "display(SVG('''<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'>"
    "<script>document.title = 'owned'</script>"
    "<circle cx='30' cy='30' r='25' onload='document.title=1'/></svg>'''))",
    "display(IFrame('https://example.com', 300, 200))",
    "display({'image/png': 'AAAA\" onerror=\"document.title=1'}, raw=True)",
    "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'x'},"
    " 'text/plain': 'IntSlider(value=3)'}, raw=True)",
    "display(HTML('''<style>body { background: red } main { display: none }</style>"
    "<table><tr><td>framed</td></tr></table><script>parent.document.title = 'owned'</script>'''))",
    "print('<script>document.title = 1</script>')",
)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Sites:
    """Three runs: two of one pipeline with different seeds, and one that fails."""
    project = Project(tmp_path_factory.mktemp("site") / "project")
    shutil.copy(empty_store, project.root / "mlflow.db")
    project.notebook("01_look", *_LOOK, parameters="seed: int = 1  # of everything")
    project.notebook(
        "02_train", *_TRAIN, parameters="seed: int = 1  # of it\nmodel: str = 'good'  # its name"
    )
    project.notebook("03_hostile", *_HOSTILE)
    project.notebook(
        "04_fails", "#md # What fails?", "def inner(x):\n    return {}[x]", "inner('no such key')"
    )
    project.pipeline(
        "params: {seed: 1}\nsteps:\n  - notebook: 01_look\n  - notebook: 02_train\n"
        "    matrix: {model: [good, better, worse]}\n  - notebook: 03_hostile",
        "good",
    )
    project.pipeline("steps: [{notebook: 04_fails}, {notebook: 01_look}]", "bad")
    with (
        pytest.MonkeyPatch.context() as patch,
        KernelPool(default_kind(), env=in_one_order(os.environ)) as pool,
    ):
        patch.setenv("TAXI_NB_ROOT", str(project.root))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")

        def run(name: str, *overrides: str) -> Path:
            file = project.root / "params" / f"{name}.yaml"
            pipeline = read_pipeline(file, project.root, overrides)
            return run_pipeline(pipeline, pool=pool, jobs=2, listener=Listener())[1]

        return Sites(run("good"), run("good", "seed=2"), run("bad"))
