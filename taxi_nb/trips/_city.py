"""The made-up city that synthetic months take place in: zones, streets and habits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from taxi_nb.models.zones import zone_table

Floats = npt.NDArray[np.float64]

ZONES = 265
AIRPORTS = (132, 138)  # JFK, LaGuardia
# The zones of Manhattan north of the line below which green taxis may not pick up.
UPPER_MANHATTAN = (41, 42, 74, 75, 116, 120, 127, 128, 152, 153, 166, 202, 243, 244)

# Centre and half axes of each district, in miles; x points east, y north, the origin is the
# southern tip of Manhattan.
_DISTRICTS = {
    "Core Manhattan": ((1.8, 3.3), (0.9, 3.6)),
    "Upper Manhattan": ((5.0, 9.0), (0.6, 2.6)),
    "Brooklyn": ((3.2, -3.8), (2.9, 3.6)),
    "Queens": ((8.8, 2.2), (4.0, 3.6)),
    "Bronx": ((8.2, 11.2), (2.6, 2.2)),
    "Staten Island": ((-7.0, -8.0), (3.2, 3.6)),
    "Airports": ((9.2, 0.3), (2.0, 4.2)),
    "EWR": ((-8.5, -0.5), (0.1, 0.1)),
    "Unknown": ((5.0, 2.0), (4.0, 6.0)),
}

# Manhattan's avenues point 29 degrees east of north.
_MANHATTAN_TILT = np.radians(29)

# How pick-ups and drop-offs spread over the districts.
_PICKUP_SHARES = {
    "Core Manhattan": {"green": 0.005, "yellow": 0.83},
    "Upper Manhattan": {"green": 0.40, "yellow": 0.05},
    "Brooklyn": {"green": 0.22, "yellow": 0.014},
    "Queens": {"green": 0.27, "yellow": 0.014},
    "Bronx": {"green": 0.09, "yellow": 0.002},
    "Staten Island": {"green": 0.002, "yellow": 0.0001},
    "Airports": {"green": 0.006, "yellow": 0.08},
    "EWR": {"green": 0.0002, "yellow": 0.0002},
    "Unknown": {"green": 0.0068, "yellow": 0.0097},
}
_DROPOFF_PULLS = {
    "Core Manhattan": {"green": 0.22, "yellow": 0.80},
    "Upper Manhattan": {"green": 0.26, "yellow": 0.07},
    "Brooklyn": {"green": 0.18, "yellow": 0.04},
    "Queens": {"green": 0.2, "yellow": 0.04},
    "Bronx": {"green": 0.1, "yellow": 0.01},
    "Airports": {"green": 0.03, "yellow": 0.05},
}
_SMALL_PULL = 0.004

_ZIPF_EXPONENT = 1.0
_ZIPF_SHIFT = 1.5

# Riders rarely go far: the pull of a zone falls by e for each so many miles.
_REACH_MILES = {"green": 2.6, "yellow": 1.3}
_PULL_OF_FAR_ZONES = 0.012

# Free-flowing speed where a trip starts or ends, in miles per hour.
_SPEEDS = {"Core Manhattan": 10.0, "Upper Manhattan": 11.5, "Brooklyn": 12.5, "Airports": 17.0}
_OTHER_SPEED = 14.5


@dataclass(frozen=True)
class City:
    """Zones, streets and habits, the same for all months of one seed and taxi."""

    positions: Floats  # Miles east and north, shape (265, 2).
    # A number for each pair of zones, row by row, shape (265 * 265,).
    pair_weights: Floats  # How often it is driven; they add up to one.
    detours: Floats  # Miles on the road for each mile of beeline.
    speeds: Floats  # Miles per hour in free traffic.


def build_city(taxi: str, geography: np.random.Generator, habits: np.random.Generator) -> City:
    """Place zones and streets, the same for both taxis, and choose each taxi's popular zones."""
    districts = [_district(zone, borough) for zone, borough in zone_table()["borough"].items()]
    positions = _positions(districts, geography)
    size = (ZONES, ZONES)
    detours = 1.22 + geography.gamma(2.0, 0.07, size)
    free = np.array([_SPEEDS.get(name, _OTHER_SPEED) for name in districts])
    speeds = (free[:, None] + free[None, :]) / 2 * geography.lognormal(0.0, 0.16, size)
    return City(
        positions=positions,
        pair_weights=_pair_weights(taxi, districts, positions, habits).ravel(),
        detours=detours.ravel(),
        speeds=speeds.ravel(),
    )


def _district(zone: object, borough: str) -> str:
    if zone in AIRPORTS:
        return "Airports"
    if borough != "Manhattan":
        return borough
    return "Upper Manhattan" if zone in UPPER_MANHATTAN else "Core Manhattan"


def _positions(districts: list[str], rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0.0, 2 * np.pi, ZONES)
    radius = np.sqrt(rng.uniform(0.0, 1.0, ZONES))
    centres, axes = np.array([_DISTRICTS[name] for name in districts]).transpose(1, 0, 2)
    offsets = axes * np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    tilt = np.where([name.endswith("Manhattan") for name in districts], _MANHATTAN_TILT, 0.0)
    east = offsets[:, 0] * np.cos(tilt) + offsets[:, 1] * np.sin(tilt)
    north = offsets[:, 1] * np.cos(tilt) - offsets[:, 0] * np.sin(tilt)
    return np.asarray(centres + np.column_stack([east, north]))


def _pair_weights(
    taxi: str, districts: list[str], positions: Floats, rng: np.random.Generator
) -> Floats:
    popularity = _zipf(districts, rng)
    shares = {name: of[taxi] for name, of in _PICKUP_SHARES.items()}
    pulls = {name: _DROPOFF_PULLS.get(name, {}).get(taxi, _SMALL_PULL) for name in _DISTRICTS}
    pickups = _spread(shares, districts, popularity)
    dropoffs = _spread(pulls, districts, popularity)
    steps = positions[:, None, :] - positions[None, :, :]
    beelines = np.hypot(steps[..., 0], steps[..., 1])
    reach = np.exp(-beelines / _REACH_MILES[taxi]) + _PULL_OF_FAR_ZONES
    taste = rng.lognormal(0.0, 0.5, (ZONES, ZONES))
    weights = dropoffs * reach * taste
    weights *= pickups[:, None] / weights.sum(axis=1, keepdims=True)
    return np.asarray(weights / weights.sum())


def _zipf(districts: list[str], rng: np.random.Generator) -> Floats:
    order = rng.permutation(ZONES)
    weights = np.empty(ZONES)
    for name in _DISTRICTS:
        members = [zone for zone in order if districts[zone] == name]
        ranks = np.arange(len(members))
        weights[members] = (ranks + 1 + _ZIPF_SHIFT) ** -_ZIPF_EXPONENT
    return weights


def _spread(shares: dict[str, float], districts: list[str], popularity: Floats) -> Floats:
    names = np.array(districts)
    spread = np.empty(ZONES)
    for name, share in shares.items():
        members = names == name
        spread[members] = share * popularity[members] / popularity[members].sum()
    return spread
