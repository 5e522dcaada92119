"""Does the landing show whole fetches only, and give back what was written?"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from legacy_sync.errors import LandingUnusable
from legacy_sync.sources.base import JSON_TEXT, is_json_text
from legacy_sync.sources.landing import LandedFetch, Landing

NOW = datetime(2025, 4, 1, 6, 0, tzinfo=UTC)


def batch(*numbers: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"ID": list(numbers)})


def land(landing: Landing, *numbers: int, mode: str = "full", table: str = "Kunden", part: str = "all") -> LandedFetch:
    with landing.open_fetch(table, part) as writer:
        writer.write(batch(*numbers))
        return writer.commit(mode=mode, server_time=NOW, rows=len(numbers), complete=True, table_fingerprint="f1")


def rows_of(landing: Landing, fetch: LandedFetch) -> list[dict[str, object]]:
    return [row for read in landing.read(fetch) for row in read.to_pylist()]


@pytest.fixture(params=["local", "memory"])
def landing(request, landing_root):
    if request.param == "local":
        return Landing(landing_root)
    return Landing(f"memory://{landing_root}")


def test_a_committed_fetch_is_read_as_it_was_written(landing):
    written = land(landing, 1, 2, 3)
    [found] = landing.fetches("Kunden", "all")
    assert found == written
    assert (found.rows, found.mode, found.complete, found.server_time) == (3, "full", True, NOW)
    assert [row["ID"] for row in rows_of(landing, found)] == [1, 2, 3]


def test_another_schema_starts_another_part_and_keeps_its_metadata(landing):
    schema = pa.schema([pa.field("ID", pa.string(), metadata=JSON_TEXT)])
    with landing.open_fetch("Kunden", "all") as writer:
        writer.write(batch(1))
        writer.write(batch(2))
        writer.write(pa.RecordBatch.from_arrays([pa.array(["{}"])], schema=schema))
        fetch = writer.commit(mode="full", server_time=NOW, rows=3, complete=False)
    assert fetch.parts == ("part-000.parquet", "part-001.parquet")
    read = list(landing.read(fetch))
    assert [b.num_rows for b in read] == [2, 1]
    assert is_json_text(read[1].schema.field("ID"))


def test_a_fetch_that_dies_leaves_nothing(landing):
    def dies() -> None:
        with landing.open_fetch("Kunden", "all") as writer:
            writer.write(batch(1))
            raise RuntimeError("the server went away")

    with pytest.raises(RuntimeError):
        dies()
    assert landing.fetches("Kunden", "all") == []
    assert landing.partitions("Kunden") == []


def test_a_fetch_that_is_still_written_is_not_seen(landing):
    with landing.open_fetch("Kunden", "all") as writer:
        writer.write(batch(1))
        assert landing.fetches("Kunden", "all") == []


def test_an_empty_fetch_is_a_fetch(landing):
    with landing.open_fetch("Kunden", "all") as writer:
        fetch = writer.commit(mode="incremental", server_time=NOW, rows=0, complete=True)
    assert landing.fetches("Kunden", "all") == [fetch]
    assert rows_of(landing, fetch) == []


def test_fetches_come_oldest_first(landing):
    written = [land(landing, number).fetch_id for number in range(5)]
    assert [fetch.fetch_id for fetch in landing.fetches("Kunden", "all")] == written == sorted(written)


@pytest.mark.parametrize("name", ["Währungen", "__DeletedRecords", "a/b", "..", ".", "a b%2F", "CON:"])
def test_every_name_is_a_safe_path(landing, name):
    fetch = land(landing, 1, table=name, part=name)
    assert landing.partitions(name) == [name]
    assert landing.fetches(name, name) == [fetch]
    assert len(rows_of(landing, fetch)) == 1


def test_tables_and_partitions_do_not_mix(landing):
    land(landing, 1, part="2025-03-01")
    land(landing, 2, part="2025-04-01")
    land(landing, 3, table="Artikel")
    assert landing.partitions("Kunden") == ["2025-03-01", "2025-04-01"]
    assert landing.partitions("Unbekannt") == []
    assert len(landing.fetches("Kunden", "2025-03-01")) == 1


def test_pruning_keeps_the_newest_full_fetches_and_all_after_the_oldest_of_them(landing):
    for mode in ("full", "incremental", "full", "incremental", "full", "incremental"):
        land(landing, 1, mode=mode)
    kept = [fetch.fetch_id for fetch in landing.fetches("Kunden", "all")][2:]
    assert landing.prune("Kunden", "all", keep=2) == 2
    assert [fetch.fetch_id for fetch in landing.fetches("Kunden", "all")] == kept
    assert landing.prune("Kunden", "all", keep=2) == 0
    assert all(rows_of(landing, fetch) for fetch in landing.fetches("Kunden", "all"))


def test_pruning_without_enough_full_fetches_removes_nothing(landing):
    land(landing, 1)
    land(landing, 2, mode="incremental")
    assert landing.prune("Kunden", "all", keep=2) == 0
    assert landing.prune("Kunden", "all", keep=0) == 0
    assert len(landing.fetches("Kunden", "all")) == 2


def test_a_mode_that_is_none_is_refused(landing):
    with landing.open_fetch("Kunden", "all") as writer, pytest.raises(ValueError, match='not "half"'):
        writer.commit(mode="half", server_time=NOW, rows=0, complete=True)
    assert landing.fetches("Kunden", "all") == []


def test_only_the_owner_can_read_landed_rows(landing_root):
    land(Landing(landing_root), 1)
    modes = {path.stat().st_mode & 0o777 for path in Path(landing_root).rglob("*") if path.is_file()}
    folders = {
        path.stat().st_mode & 0o777 for path in [Path(landing_root), *Path(landing_root).rglob("*")] if path.is_dir()
    }
    assert (modes, folders) == ({0o600}, {0o700})


def test_leftovers_of_dead_fetches_are_swept_after_a_day(landing_root):
    landing = Landing(landing_root)
    fetch = land(landing, 1)
    folder = Path(landing_root, "Kunden", "all")
    old = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y%m%dT%H%M%S000000Z-00000000")
    young = datetime.now(UTC).strftime("%Y%m%dT%H%M%S000000Z-00000000")
    for name in (old, young):
        (folder / name).mkdir()
        (folder / name / "part-000.parquet").write_bytes(b"half")
    (folder / f"{old}.json.aside").write_text("{}")
    landing.open_fetch("Kunden", "all")
    assert sorted(os.listdir(folder)) == sorted([fetch.fetch_id, f"{fetch.fetch_id}.json", young])


@pytest.mark.parametrize("root", ["/proc/landing", "s3://bucket/landing", "nonsense://landing"])
def test_place_that_cannot_be_used_is_said_with_its_variable(root: str):
    with pytest.raises(LandingUnusable) as refusal:
        land(Landing(root), 1)
    assert root in refusal.value.where
    assert "LEGACY_SYNC_LANDING" in refusal.value.next_step


def test_fetch_with_a_damaged_manifest_does_not_exist(landing_root: str):
    landing = Landing(landing_root)
    for number in (1, 2):
        with landing.open_fetch("T", "all") as writer:
            writer.write(pa.RecordBatch.from_pydict({"a": [number]}))
            writer.commit(mode="full", server_time=datetime.now(UTC), rows=1, complete=True)
    next(Path(landing_root, "T", "all").glob("*.json")).write_text('{"half')
    assert len(landing.fetches("T", "all")) == 1


def test_rows_of_two_servers_never_meet(landing_root: str):
    with Landing(landing_root, "one:8080").open_fetch("T", "all") as writer:
        writer.commit(mode="full", server_time=datetime.now(UTC), rows=0, complete=True)
    assert Landing(landing_root, "two:8080").fetches("T", "all") == []
    assert len(Landing(landing_root, "one:8080").fetches("T", "all")) == 1
