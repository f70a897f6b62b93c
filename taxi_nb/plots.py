"""The figures, seaborn. Each function returns a matplotlib figure with units on its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.dates import DateFormatter
from matplotlib.ticker import MaxNLocator

from taxi_nb.evaluation.drift import Drift
from taxi_nb.evaluation.errors import MonthError
from taxi_nb.models.zones import zone_table
from taxi_nb.trips.origin import Provenance, provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "busiest_zones",
    "coverage_by_slice",
    "demand",
    "distance_against_duration",
    "drift_by_feature",
    "durations",
    "error_by_day",
    "error_by_slice",
    "expected_and_found",
    "hours_and_weekdays",
    "importance",
    "model_comparison",
    "pace",
    "predicted_against_actual",
    "residuals",
    "rows_left_out",
    "tuning_progress",
    "why",
]


def __dir__() -> list[str]:
    return __all__


_SIZE = (7.0, 4.0)
_WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
HELD_OUT = "taxi_nb.held_out"
"""In a table of trials, its attribute that says which days they predicted."""

# Of more slices than that the numbers of trips would not stand beside each other.
_MOST_WIDE = 12
# Distances that a pace can be told from, in miles.
_USUAL_MILES = (0.1, 30.0)
# Enough points for a picture; more only make the file heavy.
_MAX_POINTS = 5_000


class _Limit(Protocol):
    @property
    def max_psi(self) -> float: ...


class _ScoredMonth(Protocol):
    """A month that was scored; `Scoring` is one."""

    @property
    def origin(self) -> Provenance: ...
    @property
    def drift(self) -> Sequence[Drift]: ...
    @property
    def error(self) -> MonthError | None: ...
    @property
    def thresholds(self) -> _Limit: ...


def _axes(title: str, trips: pd.DataFrame | str, size: tuple[float, float] = _SIZE) -> Axes:
    """Return fresh axes whose title says which trips, and whether they are synthetic."""
    origin = trips if isinstance(trips, str) else provenance(trips).title
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font="DejaVu Sans")
    _, axes = plt.subplots(figsize=size, dpi=110)
    # At a height of its own: to look for one takes a seventh of the drawing.
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", y=1.0, pad=22)
    axes.text(0, 1.02, origin, transform=axes.transAxes, fontsize=9, color="0.35")
    return axes


def _bars(axes: Axes, values: pd.Series, form: str, label: str) -> None:
    """Draw horizontal bars, each with its number."""
    sns.barplot(x=values.to_numpy(), y=values.index.to_numpy(), color="C0", ax=axes)
    axes.bar_label(axes.containers[0], fmt=form, padding=3)  # type: ignore[arg-type]
    axes.set(xlabel=label, ylabel="")
    axes.margins(x=0.12)


def _histogram(axes: Axes, minutes: npt.ArrayLike) -> None:
    """Draw how often each whole minute is."""
    values = np.asarray(minutes, float)
    edges = np.arange(np.floor(values.min()), np.floor(values.max()) + 2)
    # One outline: with a bar for each minute such a figure takes a quarter longer.
    axes.stairs(np.histogram(values, edges)[0], edges, fill=True, alpha=0.75)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _finished(axes: Axes, *, measured: bool = True, **labels: str) -> Figure:
    """Label the axes; take the figure out of pyplot: it is shown once, and memory is freed.

    Unless all texts are `measured`, there is room for numbers beside the axes, and a label.
    """
    axes.set(**labels)
    figure = axes.get_figure(root=True)
    assert figure is not None
    plt.close(figure)
    if measured:
        # Once, and not by a layout engine at each drawing: that takes longer than to draw.
        figure.tight_layout(pad=0.4)
    else:
        width, height = figure.get_size_inches()
        figure.subplots_adjust(0.9 / width, 0.6 / height, 1 - 0.15 / width, 1 - 0.6 / height)
    # A notebook keeps the title beside the picture, for those who cannot see it.
    alt = {"image/png": {"alt": axes.get_title(loc="left")}}
    figure._repr_mimebundle_ = lambda **_: ({}, alt)  # type: ignore[attr-defined]
    return figure


def rows_left_out(trips: pd.DataFrame) -> Figure:
    """Rows that each cleaning rule took out, as bars."""
    report = provenance(trips).cleaning
    axes = _axes("Rows left out, by the first rule they break", trips)
    rules = pd.Series(report.taken_out, name="rows").rename(index=report.rules)
    _bars(axes, rules, "{:,.0f}", f"rows, of {report.rows_in:,}")
    return _finished(axes)


def durations(trips: pd.DataFrame) -> Figure:
    """Histogram of trip durations."""
    axes = _axes("How long trips take", trips)
    _histogram(axes, trips["duration"])
    median = trips["duration"].median()
    axes.axvline(median, color="C1", linestyle="--", label=f"median {median:.1f} min")
    axes.legend()
    return _finished(axes, xlabel="duration (minutes)", ylabel="trips")


def hours_and_weekdays(trips: pd.DataFrame) -> Figure:
    """Median duration by hour of day and weekday, as a heat map."""
    axes = _axes("How long trips take, by hour and weekday", trips, (8.5, 3.8))
    return _heat_map(axes, trips, trips["duration"], "median duration (minutes)")


def pace(trips: pd.DataFrame) -> Figure:
    """Median minutes a mile by hour of day and weekday, as a heat map; what is left out, counted.

    Trips of 0.1 miles or less, or of over 30, have a distance that no pace can be told from.
    """
    axes = _axes("Pace by hour and weekday", trips, (8.5, 3.8))
    usual = trips[trips["trip_distance"].between(*_USUAL_MILES, inclusive="right")]
    left_out = f"without {len(trips) - len(usual):,} trips of 0.1 miles or less, or over 30"
    axes.text(1, 1.02, left_out, transform=axes.transAxes, ha="right", fontsize=9, color="0.35")
    minutes = usual["duration"] / usual["trip_distance"]
    return _heat_map(axes, usual, minutes, "median pace (minutes a mile)")


def _heat_map(axes: Axes, trips: pd.DataFrame, values: pd.Series, label: str) -> Figure:
    """Draw the median of `values` by hour of day and weekday."""
    hour = trips["pickup_datetime"].dt.hour.rename("hour")
    weekday = trips["pickup_datetime"].dt.weekday.rename("weekday")
    table = values.groupby([weekday, hour]).median().unstack("hour")
    table = table.reindex(index=range(7), columns=range(24))
    sns.heatmap(table, ax=axes, cmap="viridis", cbar_kws={"label": label})
    axes.set_yticklabels(_WEEKDAYS, rotation=0)
    return _finished(axes, xlabel="hour of pick-up", ylabel="")


def demand(trips: pd.DataFrame) -> Figure:
    """Trips an hour over the day, working days against weekends."""
    axes = _axes("When people ride", trips)
    pickup = trips["pickup_datetime"]
    weekend = (pickup.dt.weekday >= 5).map({True: "weekend", False: "Monday to Friday"})
    days = pickup.dt.normalize().groupby(weekend).nunique()
    counts = trips.groupby([weekend.rename("day"), pickup.dt.hour.rename("hour")]).size()
    per_day = counts.div(days, level=0).rename("trips").reset_index()
    per_day.columns = ["day", "hour", "trips"]
    sns.lineplot(per_day, x="hour", y="trips", hue="day", marker="o", ax=axes)
    axes.set_xticks(range(0, 24, 3))
    axes.legend(title="")
    return _finished(axes, xlabel="hour of pick-up", ylabel="trips an hour, a day")


def busiest_zones(trips: pd.DataFrame, top: int = 12) -> Figure:
    """Pick-ups of the busiest zones, coloured by borough."""
    axes = _axes(f"The {top} busiest pick-up zones", trips, (7.5, 4.5))
    counts = trips["PULocationID"].value_counts().head(top).rename("trips")
    table = zone_table().join(counts, how="inner").sort_values("trips", ascending=False)
    sns.barplot(table, x="trips", y="zone", hue="borough", dodge=False, ax=axes)
    axes.legend(title="", loc="lower right")
    return _finished(axes, xlabel="trips", ylabel="")


def distance_against_duration(trips: pd.DataFrame) -> Figure:
    """Scatter of distance and duration; absurd distances are beyond the axis, and counted."""
    axes = _axes("Distance and duration", trips)
    shown = trips[trips["trip_distance"].between(0.01, 30)]
    sample = shown.sample(min(len(shown), _MAX_POINTS), random_state=0)
    sns.scatterplot(sample, x="trip_distance", y="duration", s=8, alpha=0.25, linewidth=0, ax=axes)
    beyond = len(trips) - len(shown)
    note = f"{beyond:,} trips of 0 or over 30 miles not shown"
    axes.text(0.99, 0.03, note, transform=axes.transAxes, ha="right", fontsize=9, color="0.35")
    return _finished(axes, xlabel="distance (miles)", ylabel="duration (minutes)")


def predicted_against_actual(trips: pd.DataFrame, predicted: npt.ArrayLike) -> Figure:
    """Density of predicted and actual minutes with the line where they agree."""
    axes = _axes("Predicted against actual", trips, (5.6, 4.8))
    top = float(trips["duration"].max())
    shown = np.clip(np.asarray(predicted, float), 0, top)
    # Squares and not hexagons: slanted edges, with all their shades, made this the largest picture.
    drawn = axes.hist2d(
        trips["duration"], shown, np.linspace(0, top, 61), cmin=1, norm="log", cmap="viridis"
    )[-1]
    axes.plot([0, top], [0, top], color="C1", linestyle="--", label="perfect")
    # Plain numbers and no small ticks: they would take half of the time that drawing takes.
    bar = axes.figure.colorbar(drawn, ax=axes, label="trips", format="{x:,.0f}")
    bar.minorticks_off()
    axes.legend(loc="upper left")
    actual, expected = "actual duration (minutes)", "predicted duration (minutes)"
    return _finished(axes, measured=False, xlabel=actual, ylabel=expected)


def residuals(trips: pd.DataFrame, predicted: npt.ArrayLike) -> Figure:
    """Histogram of predicted minus actual minutes."""
    axes = _axes("Residuals", trips)
    error = np.asarray(predicted, float) - trips["duration"].to_numpy()
    _histogram(axes, error.clip(-40, 40))
    axes.axvline(0, color="0.3", linewidth=1)
    label = "predicted minus actual (minutes; beyond ±40 at the edge)"
    return _finished(axes, measured=False, xlabel=label, ylabel="trips")


def model_comparison(table: pd.DataFrame, trips: pd.DataFrame) -> Figure:
    """Validation RMSE of each model as bars; `table` has ``valid_rmse`` by model."""
    axes = _axes("Validation error by model", trips, (7.0, 0.5 * len(table) + 1.6))
    _bars(axes, table["valid_rmse"], "%.2f", "validation RMSE (minutes)")
    return _finished(axes)


def error_by_slice(table: pd.DataFrame, title: str, label: str, trips: pd.DataFrame) -> Figure:
    """RMSE of each slice in `table` (from `error_by`) as bars, with how many trips it has.

    Where the table has them, the errors over days, and what it was compared with beside.
    """
    axes = _axes(title, trips, (8.0, 3.8))
    places = np.arange(len(table))
    errors = table["rmse_error"].to_numpy() if "rmse_error" in table else None
    known = errors is not None and bool(np.isfinite(errors).any())
    shown: list[Any] = [axes.bar(places, table["rmse"], color="C0", label="model")]
    if known:
        bars: dict[str, Any] = {
            "fmt": "none",
            "color": "0.2",
            "label": "± standard error over days",
        }
        shown.append(axes.errorbar(places, table["rmse"], errors, **bars))
    if "beside_rmse" in table:
        shown += axes.plot(places, table["beside_rmse"], "D", color="C1", label="rule of thumb")
        where: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1, 1),
            "ncols": 3,
            "frameon": False,
        }
        axes.legend(handles=shown, fontsize=9, **where)
    is_narrow = len(table) > _MOST_WIDE
    counts = [_short(count) if is_narrow else f"{count:,}" for count in table["trips"]]
    names = [f"{name}\n{count}" for name, count in zip(table.index, counts, strict=True)]
    axes.set_xticks(places, names, fontsize=8)
    axes.grid(visible=False, axis="x")
    return _finished(axes, xlabel=f"{label}, and trips", ylabel="RMSE (minutes)")


def _short(count: int) -> str:
    """Return a count for a narrow place: ``950``, ``9.5k``, ``95k``."""
    if count < 1_000:
        return str(count)
    return f"{count / 1_000:.1f}k" if count < 9_950 else f"{count / 1_000:,.0f}k"


def coverage_by_slice(table: pd.DataFrame, level: float, label: str, trips: pd.DataFrame) -> Figure:
    """Share of trips inside their intervals by slice (from `coverage_by`), and the aim."""
    axes = _axes("Trips inside their intervals", trips, (8.0, 3.6))
    axes.plot(table.index.astype(str), 100 * table["coverage"], "o", label="reached")
    axes.axhline(100 * level, color="C1", linestyle="--", label=f"aim: {level:.0%}")
    axes.legend()
    return _finished(axes, xlabel=label, ylabel="trips inside (%)")


def importance(table: pd.DataFrame, trips: pd.DataFrame) -> Figure:
    """By how much the RMSE grows without each group (from `importance`), with its spread."""
    axes = _axes("What it would miss", trips, (7.5, 0.45 * len(table) + 1.8))
    table = table.iloc[::-1]
    axes.barh(table.index, table["minutes"], xerr=table["spread"], color="C0", ecolor="0.2")
    axes.grid(visible=False, axis="y")
    return _finished(axes, xlabel="RMSE more without it (minutes), ± spread over draws")


def why(moved: pd.DataFrame, trips: pd.DataFrame) -> Figure:
    """What moved the predictions of a few trips (from `contributions`), minutes after minutes.

    The index of `moved` names the trips; each starts with an average trip.
    """
    title = "From an average trip to these, step by step"
    axes = _axes(title, trips, (9.0, 0.35 * moved.size + 1.6))
    places, names, at = [], [], 0.0
    for trip, parts in moved.iterrows():
        reached = 0.0
        for number, (name, minutes) in enumerate(parts.items()):
            colour = "0.6" if not number else "C3" if minutes > 0 else "C0"
            axes.barh(at, minutes, left=reached, color=colour)
            right, reached = max(reached, reached + minutes), reached + minutes
            label = f" {minutes:+.1f}" if number else f" {minutes:.1f}"
            axes.text(right, at, label, va="center", fontsize=8)
            places.append(at)
            names.append(str(name))
            at -= 1
        axes.text(
            0, at, f"{trip}: {reached:.1f} minutes", va="center", fontweight="bold", fontsize=9
        )
        at -= 2
    axes.set_yticks(places, names, fontsize=8)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    return _finished(axes, xlabel="minutes")


def tuning_progress(trials: pd.DataFrame, trips: pd.DataFrame) -> Figure:
    """RMSE of each trial in order, the best so far, and the default's, which is trial 0."""
    axes = _axes("Each trial, and the best so far", trips)
    axes.plot(trials.index, trials["rmse"], "o", alpha=0.6, label="trial")
    axes.step(trials.index, trials["rmse"].cummin(), where="post", label="best so far")
    axes.axhline(trials["rmse"].iloc[0], color="0.4", linestyle=":", label="the default")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    held_out = trials.attrs.get(HELD_OUT, "days after those learned from")
    return _finished(axes, xlabel="trial", ylabel=f"RMSE (minutes), held out:\n{held_out}")


def drift_by_feature(scoring: _ScoredMonth) -> Figure:
    """Population stability index of each feature and of the predictions, and the limit."""
    indices = pd.Series({drift.name: drift.index for drift in scoring.drift})
    axes = _axes("Drift since training", scoring.origin.title, (7.0, 0.5 * len(indices) + 1.6))
    _bars(axes, indices, "%.3f", "population stability index")
    limit = scoring.thresholds.max_psi
    axes.axvline(limit, color="C1", linestyle="--", label=f"limit {limit:g}")
    axes.set_xlim(0, 1.15 * max([limit, *indices]))
    axes.legend(loc="lower right")
    return _finished(axes)


def expected_and_found(scoring: _ScoredMonth, drift: Drift) -> Figure:
    """Shares of a distribution's bins, as the model learned them and as the month has them."""
    axes = _axes(f"Expected and found: {drift.name}", scoring.origin.title, (8.0, 3.8))
    labels = drift.expected.labels
    places = np.arange(len(labels))
    for shift, name, found in ((-0.2, "expected", drift.expected), (0.2, "found", drift.found)):
        axes.bar(places + shift, 100 * found.shares, 0.4, label=name)
    axes.set_xticks(places, labels, rotation=35, ha="right", fontsize=9)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    return _finished(axes, xlabel=drift.unit, ylabel="trips (%)")


def error_by_day(scoring: _ScoredMonth) -> Figure:
    """RMSE of each day of a month whose durations are known, and that of the validation."""
    error = scoring.error
    assert error is not None
    axes = _axes("Error by day", scoring.origin.title, (8.0, 3.6))
    axes.plot(error.by_day.index, error.by_day["rmse"], "o-", label="this month")
    before = error.at_training["rmse"]
    axes.axhline(before, color="C1", linestyle="--", label=f"at training time {before:.2f}")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(DateFormatter("%d %b"))  # type: ignore[no-untyped-call]
    axes.legend()
    return _finished(axes, xlabel="day of pick-up", ylabel="RMSE (minutes)")
