"""What a notebook's page says of itself in its head, so that it need not be made again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report.untrusted import Held

# It stands before the style sheet.
_HEAD = 8_192


@dataclass(frozen=True)
class PageSummary:
    """What the front page shows of a notebook's page, and where that page leads.

    Attributes
    ----------
    previous, next : str or None
        The steps that it links to.
    """

    title: str | None
    held: Held
    previous: str | None
    next: str | None

    def to_json(self) -> str:
        """Return what `read_summary` reads."""
        return json.dumps({**vars(self), "held": dict(self.held)})


def read_summary(page: Path) -> PageSummary | None:
    """Return what a page says of itself; None if there is none or it says nothing."""
    try:
        with page.open(encoding="utf-8") as file:
            found = re.search(r'<meta name="summary" content="([^"]*)">', file.read(_HEAD))
        known = json.loads(unescape(found[1])) if found else None
        return known and PageSummary(**{**known, "held": Counter(known["held"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def neighbours(steps: Iterable[StepResult], step: StepResult) -> tuple[str | None, str | None]:
    """Return the steps before and after one, of those that have a page."""
    with_page = [other.name for other in steps if other.html or other.name == step.name]
    place = with_page.index(step.name)
    return (
        with_page[place - 1] if place else None,
        with_page[place + 1] if place + 1 < len(with_page) else None,
    )
