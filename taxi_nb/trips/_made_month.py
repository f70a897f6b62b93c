"""One synthetic month, shaped exactly like those of the TLC.

The trips take place in a made-up city with the real zones' numbers and boroughs: popular and
lonely zones, rush hours, slow streets, detours. Duration follows from the pair of zones, the
distance, the hour and chance, so that models trained on one month are useful for the next one
of the same seed. A known share of the records is broken, as in real files.

What changes conclusions is as it was measured in green months of 2021 to 2023: distances of zero
and absurd ones, which stay in; records that came in without the meter's details and with stamps
of whole minutes; and how much months differ in all of that, and in their number of records.
"""

from __future__ import annotations

import hashlib
from calendar import monthrange
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from taxi_nb.trips._city import ZONES, City, Floats, build_city
from taxi_nb.trips.month_file import SYNTHETIC_KEY
from taxi_nb.trips.records import STAMP_PREFIX

# The share of broken records by the cleaning rule that finds them. A month of n records holds
# exactly round(share * n) of each; no record breaks two rules, all others keep the default rules.
BROKEN_SHARES = {
    "missing": 0.0010,  # A null zone or distance.
    "month": 0.0005,  # A pick-up years ago, in the month before or in the month after.
    "zone": 0.0010,  # 0, 266 or 999.
    "short": 0.0150,  # Zero seconds (a quarter of them) to under a minute.
    "long": 0.0120,  # Over an hour to four hours, or about 24 hours (a quarter of them).
}
# The least and the largest share, by month, of records with a distance of zero, of ones with a
# distance of 100 miles or more, and of ones without the meter's details.
ZERO_SHARES = (0.013, 0.034)
ABSURD_SHARES = (0.0003, 0.0011)
BARE_SHARES = (0.06, 0.48)
ABSURD_MILES = (101.0, 244_152.0)
FEWEST_ABSURD = 5  # Where there would be fewer, as in months of a few thousand, there are none.

# Months have fewer or more records than this one, which has as many as are asked for.
_USUAL_MONTH = "2021-01"
_LEVEL_SPREAD, _LEVELS = 0.12, (0.7, 1.4)

# Part of every file's name: raise it with every change of what is generated.
VERSION = 2

MIN_MINUTES, MAX_MINUTES = 1.0, 60.0

Ints = npt.NDArray[np.int64]


def _by_hour(text: str) -> Floats:
    return np.array(text.split(), dtype=np.float64)


# Demand by hour of day, 0 to 23, and by weekday from Monday.
_WORKDAY_HOURS = _by_hour("14 8 5 4 5 9 22 42 54 50 46 47 50 52 58 64 70 76 74 62 48 40 32 22")
_WEEKEND_HOURS = _by_hour("38 30 24 19 14 9 10 14 22 32 42 48 52 54 55 56 56 58 58 54 48 46 44 40")
_WEEKDAY_DEMAND = np.array([0.95, 1.0, 1.03, 1.05, 1.12, 1.0, 0.78])

# Speed relative to free traffic, by hour of day.
_WORKDAY_SPEED = _by_hour(
    "1.3 1.35 1.4 1.4 1.38 1.28 1.08 .88 .78 .82 .88 .87 "
    ".86 .85 .8 .76 .72 .7 .76 .88 .98 1.06 1.12 1.2"
)
_WEEKEND_SPEED = _by_hour(
    "1.18 1.2 1.25 1.3 1.34 1.38 1.38 1.32 1.22 1.12 1.05 1 "
    ".97 .95 .94 .94 .94 .95 .97 1 1.05 1.08 1.1 1.14"
)

_DAY = 86_400


def make_month(taxi: str, month: str, seed: int, rows: int) -> pa.Table:
    """Make a month as the TLC would publish it; same arguments, same table.

    January 2021 has `rows` records, other months 0.7 to 1.4 times as many.
    """
    rng = _generator(seed, "month", taxi, month)
    level = np.exp(_LEVEL_SPREAD * (_mood(taxi, month, seed) - _mood(taxi, _USUAL_MONTH, seed)))
    rows = max(1, round(rows * float(np.clip(level, *_LEVELS))))
    records = _good_records(_city(taxi, seed), month, rows, rng)
    _make_odd_distances(records, rng)
    _break_some(records, month, rng)
    table = _as_published(records, taxi, rng)
    return table.replace_schema_metadata({SYNTHETIC_KEY: f"v{VERSION} seed {seed}"})


def _mood(taxi: str, month: str, seed: int) -> float:
    return float(_generator(seed, "level", taxi, month).normal())


@lru_cache(maxsize=4)
def _city(taxi: str, seed: int) -> City:
    return build_city(taxi, _generator(seed, "geography"), _generator(seed, "habits", taxi))


def _generator(seed: int, *purpose: str) -> np.random.Generator:
    # A digest and not hash(): Python salts that anew in every process.
    digest = hashlib.sha256(":".join(purpose).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


@dataclass
class _Records:
    """Columns of equal length; times in whole seconds since the month began, distance in miles."""

    pickup: Ints
    seconds: Ints
    pickup_zone: Ints
    dropoff_zone: Ints
    distance: Floats
    first: np.datetime64
    bare: npt.NDArray[np.bool_]  # Came in without the meter's details, stamps in whole minutes.
    null_pickup_zone: npt.NDArray[np.bool_]
    null_dropoff_zone: npt.NDArray[np.bool_]
    null_distance: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pickup)


def _good_records(city: City, month: str, rows: int, rng: np.random.Generator) -> _Records:
    pair = rng.choice(ZONES * ZONES, size=rows, p=city.pair_weights)
    pickup, speed_factor = _moments(month, rows, rng)
    bare = rng.random(rows) < rng.uniform(*BARE_SHARES)
    pickup[bare] -= pickup[bare] % 60
    order = np.argsort(pickup, kind="stable")
    pickup, speed_factor, bare = pickup[order], speed_factor[order], bare[order]
    distance = _distances(city, pair, rng)
    seconds = _seconds(city, pair, distance, speed_factor, rng)
    # From a minute to an hour, it stays there.
    seconds[bare] = np.round(seconds[bare] / 60).astype(np.int64) * 60
    return _Records(
        pickup=pickup,
        seconds=seconds,
        pickup_zone=pair // ZONES + 1,
        dropoff_zone=pair % ZONES + 1,
        distance=distance,
        first=np.datetime64(month, "M").astype("datetime64[us]"),
        bare=bare,
        null_pickup_zone=np.zeros(rows, dtype=np.bool_),
        null_dropoff_zone=np.zeros(rows, dtype=np.bool_),
        null_distance=np.zeros(rows, dtype=np.bool_),
    )


def _moments(month: str, rows: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Return the second of each pick-up and how fast traffic is at that moment."""
    first_weekday, days = _weekday_and_days(month)
    weekday = (first_weekday + np.arange(days)) % 7
    weekend = weekday >= 5
    at_weekend, at_work = (hours / hours.sum() for hours in (_WEEKEND_HOURS, _WORKDAY_HOURS))
    demand = np.where(weekend[:, None], at_weekend, at_work)
    demand *= (_WEEKDAY_DEMAND[weekday] * rng.lognormal(0.0, 0.08, days))[:, None]
    speed = np.where(weekend[:, None], _WEEKEND_SPEED, _WORKDAY_SPEED)
    speed *= rng.lognormal(0.0, 0.05, days)[:, None]
    hour = rng.choice(days * 24, size=rows, p=(demand / demand.sum()).ravel())
    return hour * 3600 + rng.integers(0, 3600, rows), speed.ravel()[hour]


def _distances(city: City, pair: Ints, rng: np.random.Generator) -> Floats:
    start = city.positions[pair // ZONES] + rng.normal(0.0, 0.3, (len(pair), 2))
    end = city.positions[pair % ZONES] + rng.normal(0.0, 0.3, (len(pair), 2))
    beeline = np.hypot(*(end - start).T)
    wandering = rng.lognormal(0.0, 0.08, len(pair))
    lost = rng.random(len(pair)) < 0.04
    wandering[lost] *= 1 + rng.pareto(2.2, int(lost.sum())) * 0.5
    return np.asarray(np.round(0.15 + beeline * city.detours[pair] * wandering, 2))


def _seconds(
    city: City, pair: Ints, distance: Floats, speed_factor: Floats, rng: np.random.Generator
) -> Ints:
    # Long trips use the highways.
    speed = city.speeds[pair] * speed_factor * (1 + 0.09 * np.minimum(distance, 15.0))
    expected = 1.6 + 60 * distance / speed
    luck = rng.lognormal(0.0, 0.24, len(pair))
    stuck = rng.random(len(pair)) < 0.03
    luck[stuck] *= 1.2 + rng.pareto(2.5, int(stuck.sum()))
    minutes = expected * luck
    # Good records keep the duration rules, so that the broken ones are exactly those made so.
    unusual = np.flatnonzero((minutes < MIN_MINUTES) | (minutes > MAX_MINUTES))
    usual = np.clip(expected[unusual], 1.5, 52.0) * rng.uniform(0.85, 1.15, len(unusual))
    minutes[unusual] = np.clip(usual, MIN_MINUTES, MAX_MINUTES)
    return np.round(minutes * 60).astype(np.int64)


def _make_odd_distances(records: _Records, rng: np.random.Generator) -> None:
    least, largest = ABSURD_MILES[0], ABSURD_MILES[1] * rng.uniform(0.4, 1.0)
    absurds, zeros = (
        round(rng.uniform(*shares) * len(records)) for shares in (ABSURD_SHARES, ZERO_SHARES)
    )
    # In a month made small for a trial, one of them would decide what is found.
    absurds = absurds if absurds >= FEWEST_ABSURD else 0
    rows = rng.permutation(len(records))[: absurds + zeros]
    absurd, zero = np.split(rows, [absurds])
    records.distance[zero] = 0.0
    # Most are of tens of thousands of miles, and the largest is another one in each month.
    miles = largest * np.linspace(0.01, 1.0, len(absurd)) ** 1.5
    records.distance[absurd] = np.round(np.maximum(miles, least), 2)


def _break_some(records: _Records, month: str, rng: np.random.Generator) -> None:
    counts = {rule: round(share * len(records)) for rule, share in BROKEN_SHARES.items()}
    rows = rng.permutation(len(records))[: sum(counts.values())]
    bounds = np.cumsum(list(counts.values()))[:-1]
    chosen = dict(zip(counts, np.split(rows, bounds), strict=True))
    missing, zone, short = chosen["missing"], chosen["zone"], chosen["short"]
    records.null_pickup_zone[missing[0::3]] = True
    records.null_dropoff_zone[missing[1::3]] = True
    records.null_distance[missing[2::3]] = True
    _break_month(records, chosen["month"], month, rng)
    wrong = rng.choice([0, 266, 999], size=len(zone))
    records.pickup_zone[zone[0::2]] = wrong[0::2]
    records.dropoff_zone[zone[1::2]] = wrong[1::2]
    records.seconds[short] = rng.integers(1, 60, len(short))
    records.seconds[short[0::4]] = 0
    _break_long(records, chosen["long"], rng)


def _break_month(records: _Records, rows: Ints, month: str, rng: np.random.Generator) -> None:
    length = _weekday_and_days(month)[1] * _DAY
    within_hours = rng.integers(0, 6 * 3600, len(rows))
    years_ago = -12 * 365 * _DAY + within_hours
    before = -1 - within_hours
    after = length + within_hours
    records.pickup[rows] = np.choose(np.arange(len(rows)) % 3, [before, after, years_ago])


def _break_long(records: _Records, rows: Ints, rng: np.random.Generator) -> None:
    over_an_hour = 3601 + rng.exponential(2400, len(rows)).astype(np.int64)
    records.seconds[rows] = np.minimum(over_an_hour, 4 * 3600)
    # A meter left on: just under 24 hours.
    records.seconds[rows[0::4]] = _DAY - rng.integers(0, 1800, len(rows[0::4]))


def _as_published(records: _Records, taxi: str, rng: np.random.Generator) -> pa.Table:
    columns = _trip_columns(records, taxi, rng) | _money_columns(records, taxi, rng)
    return pa.table({name: columns[name] for name in _COLUMNS[taxi].split()})


def _trip_columns(records: _Records, taxi: str, rng: np.random.Generator) -> dict[str, pa.Array]:
    size = len(records)
    pickup = records.first + records.pickup.astype("timedelta64[s]")
    dropoff = pickup + records.seconds.astype("timedelta64[s]")
    # They lack all details at once.
    bare = records.bare
    forwarded = pa.DictionaryArray.from_arrays(
        pa.array((rng.random(size) < 0.004).astype(np.int8), mask=bare), ["N", "Y"]
    )
    street_hail = np.where(rng.random(size) < 0.97, 1.0, 2.0)
    payment = rng.choice([1.0, 2.0, 3.0, 4.0], size=size, p=[0.62, 0.365, 0.011, 0.004])
    jfk = (records.pickup_zone == 132) | (records.dropoff_zone == 132)
    ratecode = np.select([jfk, records.dropoff_zone == 1], [2.0, 3.0], 1.0)  # 3 is Newark's.
    prefix = STAMP_PREFIX[taxi]
    return {
        "VendorID": pa.array(rng.choice([1, 2], size=size, p=[0.2, 0.8])),
        f"{prefix}_pickup_datetime": pa.array(pickup),
        f"{prefix}_dropoff_datetime": pa.array(dropoff),
        "store_and_fwd_flag": forwarded.cast(pa.string()),
        "RatecodeID": pa.array(ratecode, mask=bare),
        "PULocationID": pa.array(records.pickup_zone, mask=records.null_pickup_zone),
        "DOLocationID": pa.array(records.dropoff_zone, mask=records.null_dropoff_zone),
        "passenger_count": pa.array(np.minimum(1.0 + rng.poisson(0.3, size), 6.0), mask=bare),
        "trip_distance": pa.array(records.distance, mask=records.null_distance),
        "payment_type": _payment_type(payment, taxi, bare),
        "trip_type": pa.array(street_hail, mask=bare),
        "ehail_fee": pa.nulls(size),
    }


def _payment_type(payment: Floats, taxi: str, bare: npt.NDArray[np.bool_]) -> pa.Array:
    # The TLC publishes it as a float for green and as an integer for yellow, 0 for not known.
    if taxi == "green":
        return pa.array(payment, mask=bare)
    return pa.array(np.where(bare, 0, payment).astype(np.int64))


def _money_columns(records: _Records, taxi: str, rng: np.random.Generator) -> dict[str, pa.Array]:
    size = len(records)
    # The meter doesn't believe absurd distances either.
    miles = np.minimum(records.distance, 60.0)
    hour = records.pickup // 3600 % 24
    fare = np.round((2.5 + 2.5 * miles + 0.2 * np.minimum(records.seconds / 60, 90)) * 2) / 2
    extra = np.select([(hour >= 20) | (hour < 6), (hour >= 16) & (hour < 20)], [0.5, 1.0], 0.0)
    tip = np.round(fare * np.where(rng.random(size) < 0.55, rng.uniform(0.1, 0.3, size), 0.0), 2)
    parts = {
        "fare_amount": fare,
        "extra": extra,
        "mta_tax": np.full(size, 0.5),
        "tip_amount": tip,
        "tolls_amount": np.where(rng.random(size) < np.minimum(miles / 100, 0.3), 6.12, 0.0),
        "improvement_surcharge": np.full(size, 0.3),
        "congestion_surcharge": np.where(rng.random(size) < 0.3, 2.75, 0.0),
    }
    if taxi == "yellow":
        from_airport = np.isin(records.pickup_zone, [132, 138])
        parts["airport_fee"] = np.where(from_airport, 1.25, 0.0)
    total = np.round(np.sum(list(parts.values()), axis=0), 2)
    return {name: pa.array(values) for name, values in (parts | {"total_amount": total}).items()}


def _weekday_and_days(month: str) -> tuple[int, int]:
    """Return the weekday that a month begins with, 0 for Monday, and its number of days."""
    year, _, number = month.partition("-")
    return monthrange(int(year), int(number))


# The order in which the TLC publishes them.
_COLUMNS = {
    "green": (
        "VendorID lpep_pickup_datetime lpep_dropoff_datetime store_and_fwd_flag RatecodeID "
        "PULocationID DOLocationID passenger_count trip_distance fare_amount extra mta_tax "
        "tip_amount tolls_amount ehail_fee improvement_surcharge total_amount payment_type "
        "trip_type congestion_surcharge"
    ),
    "yellow": (
        "VendorID tpep_pickup_datetime tpep_dropoff_datetime passenger_count trip_distance "
        "RatecodeID store_and_fwd_flag PULocationID DOLocationID payment_type fare_amount extra "
        "mta_tax tip_amount tolls_amount improvement_surcharge total_amount congestion_surcharge "
        "airport_fee"
    ),
}
