"""Is a file that is not finished left alone, and never taken for an empty table?"""

import os
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from source_setup import read_all, source_of

from legacy_sync.errors import SettingsInvalid, SourceUnavailable
from legacy_sync.sources.base import Scope

HEADER = "Nr,Name\n"


def put(folder: Path, name: str, content: str = HEADER + "1,a\n", age: float = 3600) -> Path:
    """A file that was written so many seconds ago."""
    file = folder / name
    file.write_text(content)
    os.utime(file, (time.time() - age, time.time() - age))
    return file


def files_of(folder: Path | str, **table: Any) -> Any:
    tables = {"t": {"files": "*.csv*", "key": "Nr", **table}}
    return source_of({"type": "files", "folder": str(folder), "tables": tables}, {"folder": "DROP_FOLDER"})


def numbers(source: Any) -> list[str]:
    return [row["Nr"] for row in read_all(source, "t")[0]]


@pytest.mark.parametrize(
    ("name", "content", "age", "reason"),
    [
        ("a.csv", HEADER + "1,a\n", 2, "a.csv is left for later: it changed 2 s ago"),
        ("a.csv", "", 3600, "a.csv is left for later: it is empty"),
        ("a.csv.part", HEADER + "1,a\n", 3600, "its name says that it is not finished"),
        ("a.csv.tmp", HEADER + "1,a\n", 3600, "its name says that it is not finished"),
        (".~lock.a.csv#", "x", 3600, "its name says that it is not finished"),
    ],
)
def test_nothing_that_can_be_read_yet_is_no_empty_table(tmp_path, name, content, age, reason):
    put(tmp_path, name, content, age)
    with pytest.raises(SourceUnavailable, match=reason):
        numbers(files_of(tmp_path))
    with pytest.raises(SourceUnavailable):
        files_of(tmp_path).probe("t", None, None)


def test_no_file_is_no_empty_table(tmp_path):
    with pytest.raises(SourceUnavailable, match=r'there is no file "\*\.csv\*" for the table "t" yet'):
        numbers(files_of(tmp_path))


def test_no_folder_says_which_variable_to_set(tmp_path):
    with pytest.raises(SourceUnavailable, match="the folder is not there") as caught:
        numbers(files_of(tmp_path / "nowhere"))
    assert "DROP_FOLDER" in caught.value.next_step
    with pytest.raises(SettingsInvalid, match="the source example has no folder") as missing:
        files_of("")
    assert missing.value.next_step.startswith("set the environment variable DROP_FOLDER")


def test_only_the_newest_file_counts_where_each_has_everything(tmp_path):
    put(tmp_path, "z.csv", HEADER + "1,old\n", age=7200)
    put(tmp_path, "a.csv", HEADER + "2,new\n")
    assert numbers(files_of(tmp_path)) == ["2"]


def test_an_older_file_never_stands_in_for_an_unfinished_newer_one(tmp_path):
    put(tmp_path, "a.csv", HEADER + "1,old\n")
    put(tmp_path, "b.csv", HEADER + "2,new\n", age=1)
    with pytest.raises(SourceUnavailable, match=r"b\.csv is left for later"):
        numbers(files_of(tmp_path))


def test_a_file_that_has_not_its_final_name_yet_hides_no_finished_one(tmp_path):
    put(tmp_path, "a.csv")
    put(tmp_path, "b.csv.part", age=1)
    rows, fetch = read_all(files_of(tmp_path), "t")
    assert [row["Nr"] for row in rows] == ["1"]
    assert fetch.report.complete
    assert fetch.report.notes == ("b.csv.part is left for later: its name says that it is not finished",)


def test_all_finished_files_are_read_where_each_is_a_part(tmp_path):
    put(tmp_path, "a.csv", HEADER + "1,a\n")
    put(tmp_path, "b.csv", HEADER + "2,b\n", age=7200)
    rows, fetch = read_all(files_of(tmp_path, which="all"), "t")
    assert ([row["Nr"] for row in rows], fetch.report.complete) == (["2", "1"], True)
    put(tmp_path, "c.csv", "")
    rows, fetch = read_all(files_of(tmp_path, which="all"), "t")
    assert ([row["Nr"] for row in rows], fetch.report.complete) == (["2", "1"], False)
    assert fetch.report.notes == ("c.csv is left for later: it is empty",)


def test_a_marker_says_that_a_file_is_finished(tmp_path):
    source = files_of(tmp_path, ready_marker=".ok")
    put(tmp_path, "a.csv")
    with pytest.raises(SourceUnavailable, match=r"a\.csv\.ok is not there yet"):
        numbers(source)
    put(tmp_path, "a.csv.ok", "")
    assert numbers(source) == ["1"]
    put(tmp_path, "a.csv", HEADER + "1,a\n2,b\n", age=60)
    with pytest.raises(SourceUnavailable, match="it changed after it was marked as finished"):
        numbers(source)


@pytest.mark.parametrize("change", ["grow", "replace", "remove", "touch"])
def test_a_file_that_changes_while_it_is_read_gives_no_fetch(tmp_path, change):
    file = put(tmp_path, "a.csv", HEADER + "".join(f"{n},a\n" for n in range(15_000)))
    fetch = files_of(tmp_path).fetch(Scope("t"))
    batches = iter(fetch)
    next(batches)
    if change == "grow":
        with file.open("a") as stream:
            stream.write("99999,late\n")
    elif change == "replace":
        file.unlink()
        put(tmp_path, "a.csv", "x" * 10)
    elif change == "remove":
        file.unlink()
    else:
        os.utime(file)
    with pytest.raises(SourceUnavailable, match=r"a\.csv changed while it was read"):
        list(batches)
    with pytest.raises(RuntimeError, match="only after all"):
        _ = fetch.report


def test_a_folder_may_lie_anywhere_fsspec_reaches(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{tmp_path}/a.csv", (HEADER + "7,x\n").encode())
    tables = {"t": {"files": "*.csv", "key": "Nr"}}
    words = {"type": "files", "folder": f"memory://{tmp_path}", "settle_seconds": 0, "tables": tables}
    assert numbers(source_of(words)) == ["7"]


def test_a_scheme_nobody_knows_is_a_wrong_setting():
    with pytest.raises(SettingsInvalid, match="cannot be reached"):
        files_of("nowhere://bucket/export")


def test_signs_of_patterns_in_the_folders_own_name_mean_themselves(tmp_path):
    folder = tmp_path / "export [2025]*"
    folder.mkdir()
    put(folder, "a.csv")
    assert numbers(files_of(folder)) == ["1"]
