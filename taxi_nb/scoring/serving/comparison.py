"""What a server's models answered, held against the durations that came true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from taxi_nb.evaluation.day_blocks import DayMean, days_of, rmse_gain, rmse_of_days
from taxi_nb.scoring._month_records import AT_PICKUP

if TYPE_CHECKING:
    import pandas as pd

_KEYS = list(AT_PICKUP)


@dataclass(frozen=True)
class Answered:
    """How well a version answered the trips whose durations are known."""

    version: str
    role: str  # ``champion``, ``challenger``, or ``shadow``.
    trips: int  # That it was asked about.
    known: int  # Of these, those whose duration is known.
    # Minutes, with their errors over days; None where nothing is known.
    rmse: DayMean | None
    bias: DayMean | None


@dataclass(frozen=True)
class Compared:
    """Two versions on the same trips: those that one answered and the other shadowed."""

    champion: str
    challenger: str
    trips: int
    gain: DayMean  # Minutes of RMSE by which the challenger is better.

    def __str__(self) -> str:
        days = f"{self.trips:,} trips of {self.gain.days} day{'s' if self.gain.days > 1 else ''}"
        found = f"version {self.challenger} against version {self.champion} on the same {days}: "
        found += f"RMSE {replace(self.gain, mean=-self.gain.mean).shown('+')} minutes"
        if self.gain.days < 2:
            return f"{found}; one day cannot tell from chance"
        reach = self.gain.reach()
        verdict = "may be chance"
        if abs(self.gain.mean) > reach:
            verdict = "better" if self.gain.mean > 0 else "worse"
        return f"{found}, {verdict} (chance explains {reach:.3f})"


@dataclass(frozen=True)
class Comparison:
    """All versions that answered, and those that saw the same trips in pairs."""

    answered: tuple[Answered, ...]
    compared: tuple[Compared, ...]
    # Trips asked about that cannot be found: without a time, or another trip is like it.
    unknown: int


def compare(answers: pd.DataFrame, trips: pd.DataFrame) -> Comparison:
    """Compare what was answered with what came true.

    A trip is found by its time of pick-up, its zones and its distance; one that is not the only
    such trip of its month is left out.

    Parameters
    ----------
    answers : DataFrame
        As `read_answers` gives them.
    trips : DataFrame
        Trips with ``duration`` in minutes, as `load_trips` gives them.

    Examples
    --------
    >>> import pandas as pd
    >>> trip = {"pickup_datetime": pd.Timestamp("2021-03-01 08:00"), "PULocationID": 74,
    ...         "DOLocationID": 75, "trip_distance": 1.8}
    >>> told = {"run": "r", "request": 1, "row": 0, "version": "3", "role": "champion"}
    >>> answers = pd.DataFrame([{**trip, **told, "minutes": 9.0, "answered": True}])
    >>> found = compare(answers, pd.DataFrame([{**trip, "duration": 12.0}]))
    >>> found.answered[0].bias.mean
    -3.0
    """
    single = trips[[*_KEYS, "duration"]].drop_duplicates(_KEYS, keep=False)
    # Keys of one kind on both sides: what was answered may lack some.
    asked = answers.dropna(subset=_KEYS).astype(single.dtypes[_KEYS].to_dict())
    known = asked.merge(single, on=_KEYS, how="inner")
    known["error"] = known["minutes"] - known["duration"]
    known["day"] = days_of(known["pickup_datetime"])
    return Comparison(tuple(_each(answers, known)), tuple(_pairs(known)), len(answers) - len(known))


def _each(answers: pd.DataFrame, known: pd.DataFrame) -> Iterator[Answered]:
    counts = answers.groupby(["version", "role"], as_index=False).size()
    for version, role, trips in sorted(counts.itertuples(index=False, name=None)):
        own = known[(known["version"] == version) & (known["role"] == role)]
        there = len(own) > 0
        yield Answered(
            version=version,
            role=role,
            trips=int(trips),
            known=len(own),
            rmse=rmse_of_days(own["error"], own["day"]) if there else None,
            bias=DayMean.of(own["error"], own["day"]) if there else None,
        )


def _pairs(known: pd.DataFrame) -> Iterator[Compared]:
    told, thought = (known[known["role"] == role] for role in ("champion", "shadow"))
    both = told.merge(thought, on=["run", "request", "row"], suffixes=("", "_shadow"))
    for versions in both[["version", "version_shadow"]].drop_duplicates().itertuples(index=False):
        champion, challenger = map(str, versions)
        own = both[(both["version"] == champion) & (both["version_shadow"] == challenger)]
        before, after = np.square(own["error"]), np.square(own["error_shadow"])
        yield Compared(champion, challenger, len(own), rmse_gain(before, after, own["day"]))
