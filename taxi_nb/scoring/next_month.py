"""The month after those that a model was made with: the first that can judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from taxi_nb.calendar_months import month_plus
from taxi_nb.scoring.result import Scoring
from taxi_nb.scoring.score import CHAMPION_MODEL, score
from taxi_nb.scoring.scored_model import ScoredModel, load_scored_model
from taxi_nb.tracking.store import connect
from taxi_nb.trips.arguments import require_months
from taxi_nb.trips.errors import DownloadError, MissingMonthError, one_line


def score_next(
    taxi: Literal["green", "yellow"], months: Sequence[str], **arguments: Any
) -> Scoring:
    """Score the month after the newest of some months, and of those that the model was made with.

    So it is one that the model neither learned from nor was chosen by, whichever pipeline made
    it. Where the source does not have it yet, the newest of them is scored: if the model learned
    from it or was chosen by it, there is no verdict, and the result says why.

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
    connect()
    model = load_scored_model(arguments.get("model", CHAMPION_MODEL))
    arguments["model"] = model
    newest = max([*months, *_made_with(taxi, model)])
    following = month_plus(newest, 1)
    try:
        return score(taxi, following, **arguments)
    except (MissingMonthError, DownloadError) as error:
        why = f"The month after {newest} cannot be had: {one_line(error)}."
        return replace(score(taxi, newest, **arguments), instead=why)


def _made_with(taxi: str, model: ScoredModel) -> list[str]:
    """Return the months of such taxis that a model learned from, or was chosen by."""
    used = (one for one in model.used.values() if one and one.taxi == taxi)
    return [month for one in used for month in one.months]
