"""The month after those that a model was made with: the first that can judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from taxi_nb.calendar_months import month_plus
from taxi_nb.scoring.result import Scoring
from taxi_nb.scoring.score import score
from taxi_nb.trips.arguments import require_months
from taxi_nb.trips.errors import DownloadError, MissingMonthError, one_line


def score_next(
    taxi: Literal["green", "yellow"], months: Sequence[str], **arguments: Any
) -> Scoring:
    """Score the month after the newest of some months.

    Where the source does not have it yet, the newest of them is scored: if the model learned from
    it or was chosen by it, there is no verdict, and the result says why.

    Parameters
    ----------
    taxi, arguments
        As in `score`.
    months : sequence of str
        Such as ``["2021-01", "2021-02"]``.

    Returns
    -------
    Scoring

    Raises
    ------
    TripsError, ModelError
        As `score`.

    Examples
    --------
    >>> scored = score_next("green", ["2021-01", "2021-02"], source="sample", sample_rows=1_000)
    >>> scored.origin.months
    ('2021-03',)
    """
    require_months(months)
    newest = max(months)
    following = month_plus(newest, 1)
    try:
        return score(taxi, following, **arguments)
    except (MissingMonthError, DownloadError) as error:
        why = f"The month after {newest} cannot be had: {one_line(error)}."
        return replace(score(taxi, newest, **arguments), instead=why)
