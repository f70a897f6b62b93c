"""Objects of ours as a notebook shows them: trips, what was trained, what was tuned."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from taxi_nb.project import command

if TYPE_CHECKING:
    import pandas as pd

    from taxi_nb.training.train import TrainingResult
    from taxi_nb.training.tune import TuningResult

_SAMPLE_ROWS = 5


def frame_html(frame: pd.DataFrame) -> str | None:
    """Show trips with where they came from; any other frame as pandas does."""
    from taxi_nb.trips.origin import ATTRS_KEY, provenance

    # What is computed from trips carries their record along, but its rows are no trips.
    holds_trips = "pickup_datetime" in frame.columns and frame.index.dtype.kind in "iu"
    if ATTRS_KEY not in frame.attrs or not holds_trips:
        return frame._repr_html_()  # type: ignore[operator]
    origin = provenance(frame)
    synthetic = " <b>(synthetic)</b>" if origin.synthetic else ""
    shown = frame if len(frame) <= _SAMPLE_ROWS else frame.sample(_SAMPLE_ROWS, random_state=0)
    return (
        f"<p><b>{len(frame):,} trips</b>, {escape(origin.taxi)} taxis, "
        f"{escape(', '.join(origin.months))}, from {escape(origin.source)}{synthetic}; "
        f"digest <code>{origin.digest}</code></p>"
        f"<details><summary>cleaning: {origin.cleaning.rows_kept:,} of "
        f"{origin.cleaning.rows_in:,} rows kept</summary>{origin.cleaning._repr_html_()}</details>"
        f"<p>{len(shown)} of them:</p>{shown.to_html()}"
    )


def training_result_html(result: TrainingResult) -> str:
    """Show a training result's metrics against the champion, with a link to its run."""
    from taxi_nb.tracking.store import run_address

    table = result.to_frame().to_html(float_format="{:.4f}".format)
    address = run_address(result.run_id)
    link = f'<a href="{escape(address)}" target="_blank">run {result.run_id[:8]}</a>'
    return (
        f"{table}<p>{_against_champion(result)}</p>{_order_of_cells(result.run_id)}"
        f"<p>MLflow: {link} ({command('ui', 'ui')})</p>"
    )


def tuning_result_html(result: TuningResult) -> str:
    """Show what a search chose and why, and the model that it made as any other."""
    return f"<p>{escape(result.summary)}</p>{training_result_html(result.best)}"


def _order_of_cells(run_id: str) -> str:
    """Say in a line whether a run's cells ran from the top down; nothing of a step's."""
    from mlflow import MlflowClient

    from taxi_nb.tracking.names import TOP_TO_BOTTOM_TAG

    found = MlflowClient().get_run(run_id).data.tags.get(TOP_TO_BOTTOM_TAG)
    if found is None:
        return ""
    advice = ". Restart the kernel and run all cells before you rely on it."
    return f"<p>Top to bottom: {escape(found)}{'.' if found == 'yes' else advice}</p>"


def _against_champion(result: TrainingResult) -> str:
    from taxi_nb.registry.versions import DEFAULT_NAME, champion_run

    found = champion_run(DEFAULT_NAME, result.run_id)
    if found is None:
        return "There is no champion to compare with yet."
    if found.run_id == result.run_id:
        return f"This is the champion, {escape(found.version)}."
    if not found.comparable:
        return f"The champion, {escape(found.version)}, was judged on other trips."
    gain = found.metrics["valid_rmse"] - result.metrics["valid_rmse"]
    verdict = "better" if gain > 0 else "worse"
    return (
        f"Validation RMSE {result.metrics['valid_rmse']:.3f} minutes, {abs(gain):.3f} {verdict} "
        f"than the champion, {escape(found.version)}, with {found.metrics['valid_rmse']:.3f}."
    )
