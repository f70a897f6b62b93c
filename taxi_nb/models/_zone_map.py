"""Where the zones lie, worked out from how far apart taxis find them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
