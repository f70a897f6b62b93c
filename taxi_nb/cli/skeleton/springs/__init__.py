"""What the notebooks share: code that more than one of them needs, or that has tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

LENGTH = 12.0
STRETCH = 0.8


def measured(count: int, noise: float, seed: int) -> pd.DataFrame:
    """Return made-up measurements: ``weight`` in newtons, ``length`` of the spring in cm.

    `noise` is the standard deviation of a measured length, in cm.
    """
    chance = np.random.default_rng(seed)
    weight = chance.uniform(0, 10, count).round(2)
    length = LENGTH + STRETCH * weight + chance.normal(0, noise, count)
    return pd.DataFrame({"weight": weight, "length": length.round(3)})


def fitted_line(weight: pd.Series, length: pd.Series) -> tuple[float, float]:
    """Return slope and intercept of the line with the least squares of errors in length."""
    slope, intercept = np.polyfit(weight, length, deg=1)
    return float(slope), float(intercept)
