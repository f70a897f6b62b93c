"""The summary in the head of a notebook's page, so that the page need not be made again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report._untrusted import Held
from taxi_nb.plain_data import from_plain

# It stands before the style sheet.
_HEAD = 8_192


@dataclass(frozen=True)
class PageSummary:
    """The part of a notebook's page that the front page shows, and the steps that it links to."""

    title: str | None
    held: Held
    previous: str | None
    next: str | None
    # Cells, and code and outputs of cells, that the notebook's author hides.
    hidden: Counter[str] = field(default_factory=Counter)
    # The labels of the data that it names; pages of older commits do not name all.
    sources: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(vars(self))


def read_summary(page: Path) -> PageSummary | None:
    """Return a page's summary; None if there is no page or no summary in it."""
    try:
        with page.open(encoding="utf-8") as file:
            found = re.search(r'<meta name="summary" content="([^"]*)">', file.read(_HEAD))
        known = json.loads(unescape(found[1])) if found else None
        return known and from_plain(PageSummary, known)
    except (OSError, ValueError):
        return None


def neighbours(steps: Iterable[StepResult], step: StepResult) -> tuple[str | None, str | None]:
    """Return the steps before and after one, of those that have a page."""
    with_page = [other.name for other in steps if other.html or other.name == step.name]
    place = with_page.index(step.name)
    around = (None, *with_page, None)
    return around[place], around[place + 2]
