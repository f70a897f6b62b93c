"""What people decided about a run after they looked at it: added to, never changed.

Each decision is a parameter of the run, which every store of MLflow writes once and for all. Who
decided is stated: nothing asks whether it is true.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal
from uuid import uuid4

from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.tracking._written_once import write_once
from taxi_nb.tracking.model_notes import in_order
from taxi_nb.tracking.names import KIND_TAG, PIPELINE_RUN_TAG
from taxi_nb.tracking.run_tree import find_run, with_those_above
from taxi_nb.tracking.store_errors import again_if_another_was_first

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Shown among a run's tags: the last decision in words, and whether one is asked for.
REVIEW_TAG = "taxi_nb.review"
NEEDS_REVIEW_TAG = "taxi_nb.review_needed"
_SERIES = "review."


@dataclass(frozen=True)
class RunReview:
    """One decision about a run."""

    verdict: Literal["approved", "rejected"]
    by: str  # As stated.
    reason: str
    # The digest of the record and the executed notebooks, as they were then.
    reviewed: str
    who: str  # Whoever ran the command, as `taxi-nb` knows developers.
    at: str  # UTC, in ISO 8601.
    commit: str | None = None
    number: int = 0  # Its place among them, from 1.

    def __str__(self) -> str:
        return f"{self.verdict} by {self.by}, {self.at}: {self.reason}"


def reviews_of(run: Run) -> tuple[RunReview, ...]:
    """Return the decisions about a run, oldest first."""
    written = in_order(run.data.params, _SERIES)
    return tuple(from_plain(RunReview, json.loads(one)) for one in written)


def add_review(client: MlflowClient, run_id: str, review: RunReview) -> RunReview:
    """Add a decision, and return it with its number; that of another process may come before."""
    while True:
        numbered = replace(review, number=len(reviews_of(client.get_run(run_id))) + 1)
        key = f"{_SERIES}{numbered.number:05}"
        unique = {**vars(numbered), "id": uuid4().hex}
        if write_once(client, run_id, key, to_json(unique, ensure_ascii=False)):
            set_tag = partial(client.set_tag, run_id, REVIEW_TAG, str(numbered))
            again_if_another_was_first(set_tag)
            return numbered


def pipeline_run_of(client: MlflowClient, run_id: str) -> Run | None:
    """Return the pipeline's run that a run was made in; None if it was made in none."""
    runs = with_those_above(client, find_run(client, run_id))
    return next((run for run in runs if run.data.tags.get(KIND_TAG) == "pipeline"), None)


def missing_review(client: MlflowClient, run_id: str) -> str | None:
    """Return the pipeline's run that has to be approved first, by its name; None if none has to."""
    run = pipeline_run_of(client, run_id)
    if run is None or NEEDS_REVIEW_TAG not in run.data.tags:
        return None
    reviews = reviews_of(run)
    is_approved = bool(reviews) and reviews[-1].verdict == "approved"
    return None if is_approved else run.data.tags.get(PIPELINE_RUN_TAG, str(run.info.run_id))
