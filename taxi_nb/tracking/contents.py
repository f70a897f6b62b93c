"""Parameters, metrics, figures, tables and files on their way to a run."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.store_errors import again_if_another_was_first

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow.entities import DatasetInput

_DPI = 110


@dataclass(frozen=True)
class Picture:
    """A figure as it was logged; a notebook shows these very bytes, without drawing once more."""

    png: bytes = field(repr=False)
    # For those who cannot see it.
    alt: str

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
        return {"image/png": self.png}, {"image/png": {"alt": self.alt}}


@dataclass
class RunContents:
    """Collects what goes to a run, to log it in one transaction and one copy."""

    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # Path among the artifacts -> content.
    inputs: list[DatasetInput] = field(default_factory=list)

    def add_figure(self, figure: Figure, name: str) -> Picture:
        """Add a figure as ``figures/<name>.png``, and return it as it was drawn."""
        picture = Picture(_png(figure), figure.axes[0].get_title(loc="left"))
        self.files[f"figures/{name}.png"] = picture.png
        return picture

    def add_table(self, table: pd.DataFrame, name: str) -> None:
        """Add a table as ``tables/<name>.csv``."""
        self.files[f"tables/{name}.csv"] = KNOWN.hide_in(table.to_csv()).encode()

    def log(self, run_id: str | None = None) -> None:
        """Log everything to a run; to the active one, or a new one, if none is named."""
        import mlflow
        from mlflow.entities import Metric, Param, RunTag

        # Like MLflow's own calls, open a run where there is none.
        run_id = run_id or str((mlflow.active_run() or mlflow.start_run()).info.run_id)
        client, now = mlflow.MlflowClient(), int(time.time() * 1000)
        params, tags = KNOWN.hide_in(self.params), KNOWN.hide_in(self.tags)
        if params or tags or self.metrics:
            client.log_batch(
                run_id,
                [Metric(name, value, now, 0) for name, value in self.metrics.items()],
                [Param(name, str(value)) for name, value in params.items()],
                [RunTag(name, value) for name, value in tags.items()],
            )
        if self.inputs:
            again_if_another_was_first(lambda: client.log_inputs(run_id, self.inputs))
        if self.files:
            log_contents(run_id, self.files)


def _png(figure: Figure) -> bytes:
    """Draw a figure once: ``savefig`` draws it twice where a layout engine is at work."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before, content = (figure.dpi, figure.canvas), io.BytesIO()
    figure.dpi = _DPI
    try:
        FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    finally:
        figure.dpi = before[0]
        figure.set_canvas(before[1])
    return content.getvalue()


def log_contents(run_id: str, files: Mapping[str, bytes]) -> None:
    """Log artifacts by their paths and contents, all at once."""
    from mlflow import MlflowClient

    with HeldFolder() as folder:
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        MlflowClient().log_artifacts(run_id, str(folder))
