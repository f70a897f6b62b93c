"""The project's own store, an SQLite file: made whole, and at home where the project lies now."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from taxi_nb.project import part_file, part_files_of, project_root, publish
from taxi_nb.tracking.file_addresses import folder_of, sqlite_address, sqlite_file

ARTIFACTS = "mlartifacts"

# Where MLflow keeps addresses of artifacts.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
# Tables with rows before anything was logged.
_OF_MLFLOW = {"alembic_version", "workspaces"}


def make_tables(database: Path, uri: str, location: str | None) -> None:
    """Make MLflow's tables in an SQLite file, its Default experiment keeping artifacts there.

    The caller holds the file's lock. They are made aside: MLflow takes seconds for them, and a
    kill within these would leave a store that it refuses for good. One that was left so by an
    older commit, with nothing in it, is replaced.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make: Any = SqlAlchemyStore
    for left in part_files_of(database):  # By a process that was killed with the lock.
        left.unlink(missing_ok=True)
        left.with_name(f"{left.name}-journal").unlink(missing_ok=True)
    if database.exists() and not _is_empty(database):
        make(uri, location)
        return
    with part_file(database) as part:
        make(sqlite_address(part), location).engine.dispose()
        publish(part, database)


def _is_empty(database: Path) -> bool:
    """Whether MLflow has begun a store and nothing is in it, not even its Default experiment."""
    with closing(sqlite3.connect(database, timeout=30)) as opened:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        try:
            tables = {row[0] for row in opened.execute(names)}
        except sqlite3.DatabaseError:  # No database: MLflow will say.
            return False
        if tables and not tables & {"experiments", "alembic_version"}:
            return False
        counted = tables - _OF_MLFLOW
        first_row = 'SELECT 1 FROM "{}" LIMIT 1'  # The names are the database's own.
        return not any(opened.execute(first_row.format(table)).fetchone() for table in counted)


def is_away(uri: str, named_root: str | None) -> bool:
    """Whether a store is the project's own and names a folder for artifacts where it once was."""
    return bool(_former_homes(uri, named_root))


def bring_home(uri: str, named_root: str | None) -> None:
    """Let the project's own store name the `mlartifacts` beside it: the project was moved, or this
    is a copy, which must not write into the original.

    `named_root` is the place for artifacts that somebody chose; it stays. The caller holds the
    file's lock.
    """
    database = sqlite_file(uri)
    homes = _former_homes(uri, named_root)
    if database is None or not homes:
        return
    home = _home(database)
    with closing(sqlite3.connect(database, timeout=30)) as opened, opened:
        there = {row[0] for row in opened.execute("SELECT name FROM sqlite_master")}
        for former in homes:
            for table, column in _ADDRESSES:
                if table in there:
                    opened.execute(
                        f"UPDATE {table} SET {column} = :home || substr({column}, :length + 1) "  # noqa: S608
                        f"WHERE {column} = :former OR substr({column}, 1, :length + 1) = :inside",
                        {
                            "home": home,
                            "former": former,
                            "length": len(former),
                            "inside": f"{former}/",
                        },
                    )
    for former in homes:
        print(
            f"the project is in {database.absolute().parent} now: its store takes artifacts from "
            f"{ARTIFACTS} there, and no longer from {_folder(former)}. Artifacts of earlier runs "
            f"that are not in {ARTIFACTS} can be copied there",
            file=sys.stderr,
        )


def _home(database: Path) -> str:
    return (database.parent / ARTIFACTS).resolve().as_uri()


def _former_homes(uri: str, named_root: str | None) -> list[str]:
    database = sqlite_file(uri)
    if database is None or database.is_symlink() or not os.access(database, os.W_OK):
        return []
    if database.absolute().parent.resolve() != project_root().resolve():
        return []
    with closing(sqlite3.connect(database, timeout=30)) as opened:
        try:
            found = opened.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        except sqlite3.DatabaseError:  # No store yet, or none: MLflow will say.
            return []
    home = _home(database)
    locations = {str(row[0]).rstrip("/") for row in found} - {home, named_root}
    return sorted(location for location in locations if _was_home(location, database))


def _was_home(location: str, database: Path) -> bool:
    """Whether a place for artifacts is one that we chose, beside the store."""
    folder = _folder(location)
    if folder is None or folder.name != ARTIFACTS:
        return False
    # With no store beside it, and nothing here, somebody else has chosen it.
    is_chosen = folder.is_dir() and not (folder.parent / database.name).exists()
    return (database.parent / ARTIFACTS).is_dir() or not is_chosen


def _folder(location: str) -> Path | None:
    return Path(location) if location.startswith("/") else folder_of(location)
