from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rvlab import Lab
from rvlab.actions.migrate import migrate_store
from rvlab.errors import SpecError, StoreError
from rvlab.store import S3Access, Store
from rvlab.store.layout import LAYOUT, LAYOUT_KEY, check_layout, write_layout_number
from rvlab.store.server import Server

OLD = Path(__file__).parents[1] / "data" / "store_layout_0.zip"
MESSAGE = "was written by a version of rvlab before 0.1.0. Convert it once with: rvlab migrate"


@pytest.fixture(params=["folder", "s3"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return a store of a version before 0.1.0: four runs, annotations, cache blocks."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "old")
    if request.param == "folder":
        return Store(tmp_path / "old")
    s3: Server = request.getfixturevalue("s3")
    access: S3Access = request.getfixturevalue("s3_access")
    store = Store(f"s3://{s3.bucket}/{tmp_path.name}", access)
    files = [path for path in (tmp_path / "old").rglob("*") if path.is_file()]
    for path in files:
        store.put(path.relative_to(tmp_path / "old").as_posix(), path.read_bytes())
    return store


def contents(store: Store) -> dict[str, bytes]:
    return {key: store.get(key) for key, _ in store.files()}


def expected(before: dict[str, bytes]) -> dict[str, bytes]:
    moved = {}
    for key, data in before.items():
        if "/index/" not in key:
            moved[key.replace("/roll/", "/runs/").replace("/edits/", "/annotations/")] = data
    return without_scenes(moved)


def without_scenes(found: dict[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in found.items() if not key.endswith("/scenes.parquet")}


def scenes(found: dict[str, bytes]) -> dict[str, dict[str, list[Any]]]:
    """Return the columns of each table of scenes, by its key."""
    tables = {key: data for key, data in found.items() if key.endswith("/scenes.parquet")}
    return {key: pq.read_table(io.BytesIO(data)).to_pydict() for key, data in tables.items()}


def renamed(tables: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, list[Any]]]:
    names = {"rests_on": "hashed_from"}
    return {
        key: {
            **{names.get(name, name): values for name, values in columns.items()},
            "grid": [None] * len(columns["scene"]),  # a later column
        }
        for key, columns in tables.items()
    }


def test_a_store_of_an_earlier_layout_is_refused_with_the_command_that_converts_it(
    old: Store,
) -> None:
    lab = Lab(old)
    calls: list[Any] = [lab.runs, lambda: lab.runs("tiny"), lambda: lab.evals("tiny")]
    calls.append(lambda: lab.submit("synthetic_town"))
    for call in calls:
        with pytest.raises(SpecError, match=MESSAGE):
            call()


def test_a_migrated_store_has_every_run_and_every_byte(old: Store) -> None:
    before = contents(old)
    lines: list[str] = []
    assert migrate_store(old, lines.append) == 2
    assert lines[-1] == "tiny: 2 tables of scenes converted"
    assert [line.partition(":")[0] for line in lines] == ["other", "tiny", "tiny"]
    after = contents(old)
    assert LAYOUT == 1
    assert after.pop(LAYOUT_KEY)
    assert without_scenes(after) == expected(before)
    assert len(scenes(before)) == 2
    assert scenes(after) == renamed(scenes(before))
    assert migrate_store(old, lines.append) == 0
    runs = Lab(old).runs()
    assert sorted(runs["state"]) == ["failed", "queued", "succeeded", "succeeded"]
    best = runs[runs["tags"] == "candidate"]
    assert best["note"].tolist() == ["first of its kind"]
    assert runs["archived"].sum() == 1
    assert len(Lab(old).evals("tiny")) == 260


def test_an_interrupted_migration_is_completed_by_the_next_one(
    old: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(old)
    writes: dict[str, Any] = {"put": old.put, "delete": old.delete}
    for stop in range(1, 40, 3):
        left = stop

        def limited(name: str, *args: Any, **options: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoreError("interrupted")
            writes[name](*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(old, "put", lambda *a, **o: limited("put", *a, **o))
            patch.setattr(old, "delete", lambda *a, **o: limited("delete", *a, **o))
            try:
                migrate_store(old, lambda line: None)
            except StoreError:
                pass
            else:
                break
        if LAYOUT_KEY not in contents(old):
            with pytest.raises(SpecError, match=MESSAGE):
                check_layout(Store(old.uri, old.access))
    migrate_store(old, lambda line: None)
    after = contents(old)
    assert after.pop(LAYOUT_KEY)
    assert without_scenes(after) == expected(before)
    assert scenes(after) == renamed(scenes(before))


def test_every_table_of_a_migrated_store_is_read_without_a_warning(old: Store) -> None:
    migrate_store(old, lambda line: None)
    lab = Lab(old)
    succeeded = lab.runs("tiny").query("state == 'succeeded'")
    found = lab.scenes(succeeded)
    assert sorted(set(found["run"])) == sorted(succeeded.index)
    assert set(found["hashed_from"]) == {"content"}
    tables = [lab.evals, lab.confusion, lab.history, lab.artifacts, lab.steps, lab.windows]
    assert all(len(read(succeeded)) for read in tables)


def test_tables_of_scenes_that_an_earlier_migration_left_are_converted(old: Store) -> None:
    left = {key: data for key, data in contents(old).items() if key.endswith("/scenes.parquet")}
    migrate_store(old, lambda line: None)
    for key, data in left.items():
        old.put(key, data)
    lines: list[str] = []
    assert migrate_store(old, lines.append) == 1
    assert lines == ["tiny: 2 tables of scenes converted"]
    assert set(Lab(old).scenes()["hashed_from"]) == {"content"}


def test_damaged_table_of_scenes_is_not_changed_by_the_migration(old: Store) -> None:
    key = "tiny/20261130-081038-db811a/tables/scenes.parquet"
    damaged = old.get(key)[:-30]
    old.put(key, damaged)
    migrate_store(old, lambda line: None)
    assert old.get(key) == damaged


def test_a_store_with_a_run_that_still_writes_is_not_migrated(old: Store) -> None:
    run = "20261130-081108-a9902f"
    old.put(f"other/{run}/steps/train.json", b"{}")
    before = contents(old)
    with pytest.raises(SpecError, match=rf"The run {run} wrote \d+ s ago\."):
        migrate_store(old, lambda line: None)
    assert contents(old) == before


def test_a_store_of_a_later_layout_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_json(LAYOUT_KEY, {"schema": LAYOUT + 1})
    with pytest.raises(SpecError, match="has layout 2, but this version of rvlab reads layouts up"):
        Lab(store).runs()


@pytest.mark.parametrize("number", [True, 0, -1, "1", None, 1.5])
def test_an_invalid_layout_number_is_an_error(tmp_path: Path, number: Any) -> None:
    store = Store(tmp_path)
    store.put_json(LAYOUT_KEY, {"schema": number})
    with pytest.raises(StoreError, match="which is not a layout number"):
        check_layout(store)


def test_the_layout_number_is_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_layout_number(store)
    first = store.get(LAYOUT_KEY)
    write_layout_number(Store(tmp_path))
    assert store.get(LAYOUT_KEY) == first


def test_a_store_without_runs_and_without_a_number_is_read_as_empty(tmp_path: Path) -> None:
    table = Lab(Store(tmp_path)).runs()
    assert isinstance(table, pd.DataFrame)
    assert table.empty
