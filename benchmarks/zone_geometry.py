"""Make `taxi_nb/models/zone_geometry.csv` of the TLC's taxi zones.

    .venv/bin/python -m benchmarks.zone_geometry FOLDER

FOLDER holds the unpacked shapefile *Taxi Zones* of the New York City Taxi & Limousine Commission,
``taxi_zones.shp`` with its ``.dbf``, from
https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page (public data of the City of New York,
free to use without restriction: https://opendata.cityofnewyork.us/overview/). Its coordinates are
feet in EPSG:2263. The file's form is ESRI's "Shapefile Technical Description", July 1998.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import typer

Floats = npt.NDArray[np.float64]

TABLE = Path(__file__).parents[1] / "taxi_nb" / "models" / "zone_geometry.csv"
_FEET_A_MILE = 5280.0
# Zones whose outlines come so near each other touch: outlines were drawn by hand.
_TOUCH_FEET = 100.0


def main(folder: Path) -> None:
    """Write the table."""
    table = geometry(folder / "taxi_zones.shp", folder / "taxi_zones.dbf")
    table.to_csv(TABLE, lineterminator="\n")
    typer.echo(f"{TABLE}: {len(table)} zones")


def geometry(shapes: Path, records: Path) -> pd.DataFrame:
    """Return centroid (miles east and north), area (square miles) and neighbours of each zone."""
    rings: dict[int, list[Floats]] = {}
    for zone, polygon in zip(_zone_ids(records), _polygons(shapes), strict=True):
        rings.setdefault(zone, []).extend(polygon)
    rows = {zone: _centroid_and_area(found) for zone, found in sorted(rings.items())}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["east", "north", "area"])
    touching = _neighbours(rings)
    table["neighbours"] = [" ".join(map(str, touching[zone])) for zone in table.index]
    return table.round(3).rename_axis("zone_id")


def _polygons(file: Path) -> Iterator[list[Floats]]:
    """Read the rings of each shape, each of shape (n_points, 2) in feet."""
    content = file.read_bytes()
    at = 100
    while at < len(content):
        (words,) = struct.unpack_from(">i", content, at + 4)
        kind, *_, parts, points = struct.unpack_from("<i4d2i", content, at + 8)
        if kind != 5:
            raise ValueError(f"{file}: a shape at byte {at} is no polygon but of type {kind}")
        starts = np.frombuffer(content, "<i4", parts, at + 52)
        outline = np.frombuffer(content, "<f8", 2 * points, at + 52 + 4 * parts).reshape(-1, 2)
        yield np.split(outline, starts[1:])
        at += 8 + 2 * words


def _zone_ids(file: Path) -> Iterator[int]:
    """Read the column ``OBJECTID``: the column for zones gives 57, 104 and 105 another's number."""
    content = file.read_bytes()
    count, head, size = struct.unpack_from("<IHH", content, 4)
    start = 1  # The first byte of a row says whether it was deleted.
    for at in range(32, head - 1, 32):
        name, width = content[at : at + 11].rstrip(b"\0"), content[at + 16]
        if name == b"OBJECTID":
            break
        start += width
    else:
        raise ValueError(f"{file} has no column OBJECTID")
    for row in range(count):
        at = head + row * size + start
        yield int(content[at : at + width])


def _centroid_and_area(rings: list[Floats]) -> tuple[float, float, float]:
    """Sum over rings by the shoelace formula: those of holes turn the other way."""
    area, moment = 0.0, np.zeros(2)
    for ring in rings:
        here, there = ring[:-1], ring[1:]
        cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
        area += cross.sum() / 2
        moment += ((here + there) * cross[:, None]).sum(axis=0) / 6
    east, north = moment / area / _FEET_A_MILE
    return east, north, abs(area) / _FEET_A_MILE**2


def _neighbours(rings: dict[int, list[Floats]]) -> dict[int, list[int]]:
    """Return for each zone those whose outline comes within `_TOUCH_FEET` of its own."""
    from scipy.spatial import cKDTree

    trees = {zone: cKDTree(np.vstack([_dense(ring) for ring in of])) for zone, of in rings.items()}
    found: dict[int, list[int]] = {zone: [] for zone in sorted(rings)}
    for zone, tree in trees.items():
        for other, beside in trees.items():
            if zone < other and _boxes_touch(tree, beside):
                near, _ = tree.query(beside.data, distance_upper_bound=_TOUCH_FEET)
                if np.isfinite(near).any():
                    found[zone].append(other)
                    found[other].append(zone)
    return {zone: sorted(others) for zone, others in found.items()}


def _dense(ring: Floats) -> Floats:
    """Return points of a ring no more than half of `_TOUCH_FEET` apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    places = np.linspace(0, along[-1], int(along[-1] // (_TOUCH_FEET / 2)) + 2)
    return np.column_stack([np.interp(places, along, axis) for axis in ring.T])


def _boxes_touch(one: Any, other: Any) -> bool:
    lows = [tree.mins - _TOUCH_FEET for tree in (one, other)]
    highs = [tree.maxes for tree in (one, other)]
    return bool((lows[0] <= highs[1]).all() and (lows[1] <= highs[0]).all())


if __name__ == "__main__":
    typer.run(main)
