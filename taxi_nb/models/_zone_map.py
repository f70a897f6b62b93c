"""Where the zones lie: as the TLC draws them or, elsewhere, by how far apart taxis find them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

from .zones import zone_geometry

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# On the TLC's months the logarithms of beelines and driven miles correlate by 0.87 to 0.93, on
# made-up months of another city by 0.4.
_LEAST_CORRELATION = 0.75


@cache
def drawn_zones(zones: int) -> tuple[Floats, Floats, Floats]:
    """Return the TLC's zones: centroids (miles), areas (square miles), and zones on the way.

    Shapes (zones, 2), (zones,) and (zones, zones); NaN for what is no zone with a place. On the way
    are as many zones as one has to enter, going from one to a neighbour.
    """
    table = zone_geometry().reindex(range(zones))
    touching = np.zeros((zones, zones))
    for zone, neighbours in table["neighbours"].fillna("").items():
        touching[int(str(zone)), [int(one) for one in neighbours.split()]] = 1
    steps = shortest_path(touching, unweighted=True)
    return (
        table[["east", "north"]].to_numpy(np.float64),
        table["area"].to_numpy(np.float64),
        np.where(np.isfinite(steps), steps, np.nan),
    )


def are_drawn(pick_up: Ints, drop_off: Ints, miles: Floats, zones: int) -> bool:
    """Tell whether driven distances are those between the zones as the TLC draws them."""
    places, *_ = drawn_zones(zones)
    beeline = np.hypot(*(places[drop_off] - places[pick_up]).T)
    apart = np.isfinite(beeline) & (beeline > 0)
    if apart.sum() < 3:
        return False
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.corrcoef(np.log(beeline[apart] + 0.3), np.log(miles[apart]))[0, 1]
    return bool(found > _LEAST_CORRELATION)


def zone_positions(pick_up: Ints, drop_off: Ints, miles: Floats, zones: int) -> Floats:
    """Place zones on a plane, in miles, so that driven distances are kept as well as can be.

    Zones between which trips were driven are joined by their median distance, the others by the
    shortest way along such joints; classical scaling turns the distances into coordinates. This
    is Isomap (Tenenbaum, de Silva and Langford, Science 290, 2000). North is anywhere.

    `zones` counts zone numbers, 0 included; `miles` are without outliers. A zone that no trip
    connects to most of the others is at NaN.
    """
    positions = np.full((zones, 2), np.nan)
    joints = _joints(pick_up, drop_off, miles, zones)
    _, component = connected_components(joints, directed=False)
    largest = np.flatnonzero(component == np.bincount(component).argmax())
    if len(largest) >= 3:
        between = shortest_path(joints[largest][:, largest], directed=False)
        positions[largest] = _classical_scaling(between)
    return positions


def _joints(pick_up: Ints, drop_off: Ints, miles: Floats, zones: int) -> csr_matrix:
    pairs = pd.DataFrame(
        {"a": np.minimum(pick_up, drop_off), "b": np.maximum(pick_up, drop_off), "miles": miles}
    )
    medians = pairs[pairs["a"] != pairs["b"]].groupby(["a", "b"])["miles"].median()
    a, b = (medians.index.get_level_values(end).to_numpy(np.int32) for end in ("a", "b"))
    return csr_matrix((medians.to_numpy(), (a, b)), shape=(zones, zones))


def _classical_scaling(between: Floats) -> Floats:
    squared = between**2
    rows = squared.mean(axis=1)
    values, vectors = np.linalg.eigh(-0.5 * (squared - rows - rows[:, None] + squared.mean()))
    axes = vectors[:, -2:]
    # An eigenvector's sign is arbitrary: fix it, so that results repeat everywhere.
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray(axes * signs * np.sqrt(values[-2:].clip(min=0)))
