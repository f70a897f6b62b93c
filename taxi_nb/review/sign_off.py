"""A person approves or rejects a run, and what was looked at is kept with the decision."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from taxi_nb.pipeline.memory import RUNS
from taxi_nb.pipeline.record import RUN_FILE, RunRecord, Status
from taxi_nb.pipeline.report.site import write_site
from taxi_nb.pipeline.reviewed import keep_reviews, reviewed_digest
from taxi_nb.registry.versions import RegistryError, registry_client, usable
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.model_notes import LONGEST_REASON
from taxi_nb.tracking.names import PIPELINE_RUN_TAG
from taxi_nb.tracking.run_reviews import (
    NEEDS_REVIEW_TAG,
    RunReview,
    add_review,
    pipeline_run_of,
    reviews_of,
)
from taxi_nb.tracking.run_tree import find_run
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import errors_of_store

_LONGEST_NAME = 200


class ReviewError(ValueError):
    """A run that cannot be reviewed, or a decision that says too little."""


def reviews(folder: Path) -> tuple[tuple[RunReview, ...], str]:
    """Return the decisions about a run, oldest first, and the digest of it as it is now.

    Raises `ReviewError` for a run that has not ended or that the store does not know, `StoreError`
    if the store cannot be used.
    """
    record = _ended(folder)
    return _brought(folder, record), reviewed_digest(folder, record)


def review(
    folder: Path, verdict: Literal["approved", "rejected"], *, reason: str, by: str | None = None
) -> RunReview:
    """Keep a decision about a run in the store, and show it on the run's page.

    Parameters
    ----------
    folder : Path
        The run's, below ``runs/``.
    verdict : {"approved", "rejected"}
        The decision.
    reason : str
        Why, in 1 to 2,000 characters.
    by : str, optional
        Who decides; the developer that git knows if left out. It is kept as stated.

    Raises
    ------
    ReviewError, StoreError
        As `reviews`.
    """
    from mlflow import MlflowClient

    author = authorship()
    by, reason = " ".join((by or str(author["developer"] or "")).split()), reason.strip()
    for option, value, most in (("--by", by, _LONGEST_NAME), ("-m", reason, LONGEST_REASON)):
        if not 0 < len(value) <= most:
            raise ReviewError(f"{option} must have 1 to {most:,} characters, got {len(value):,}")
    record = _ended(folder)
    _brought(folder, record)
    digest, at = reviewed_digest(folder, record), datetime.now(UTC).isoformat(timespec="seconds")
    made = RunReview(verdict, by, reason, digest, str(author["developer"]), at, author["commit"])
    client, run_id = MlflowClient(), str(record.mlflow_run_id)
    with errors_of_store(tracking_uri()):
        made = add_review(client, run_id, made)
        _brought(folder, record)
        client.log_artifact(run_id, str(write_site(folder)), "pipeline")
    return made


def require_as_reviewed(name: str, version: str, root: Path) -> None:
    """Raise a `ReviewError` if the run that made a version is no longer what was approved.

    Only where a review is needed; files that are not on this machine cannot be asked.
    """
    client = registry_client()
    with suppress(RegistryError):  # What has no such version is told by whoever promotes it.
        run = pipeline_run_of(client, str(usable(name, version, as_it_is=True).run_id))
        if run is None or NEEDS_REVIEW_TAG not in run.data.tags or not (found := reviews_of(run)):
            return
        folder = root / RUNS / run.data.tags.get(PIPELINE_RUN_TAG, "")
        is_here = (folder / RUN_FILE).is_file()
        if is_here and reviewed_digest(folder, _ended(folder)) != found[-1].reviewed:
            raise ReviewError(
                f"run {folder.name} was {found[-1]}; its record or an executed notebook is not "
                f"what was reviewed: taxi-nb review {folder.name}"
            )


def _brought(folder: Path, record: RunRecord) -> tuple[RunReview, ...]:
    """Bring a run's decisions from the store to where its page finds them."""
    from mlflow import MlflowClient

    with errors_of_store(tracking_uri()):
        run = find_run(MlflowClient(), str(record.mlflow_run_id))
    if run is None:
        raise ReviewError(
            f"run {record.id} is not in the store at hand: it was made in "
            f"{record.tracking_uri}, which MLFLOW_TRACKING_URI can name"
        )
    found = reviews_of(run)
    keep_reviews(folder, found)
    return found


def _ended(folder: Path) -> RunRecord:
    try:
        record = RunRecord.read(folder / RUN_FILE)
    except ValueError as error:
        raise ReviewError(f"{folder / RUN_FILE}: {error}") from None
    if record.status is Status.RUNNING:
        raise ReviewError(f"run {record.id} has not ended: there is nothing to decide yet")
    return record
