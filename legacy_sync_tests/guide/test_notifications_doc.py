"""Does docs/notifications.md tell the truth? Its example loads, its table of times is that of the rules."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.mapping.notify_words import KINDS, Notifications
from legacy_sync.mapping.reference import render_notifications, replace_generated
from legacy_sync.notify.look import Desk
from legacy_sync.settings import PROJECT_ROOT, read_settings

TEXT = (PROJECT_ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
MAPPING = "source: {table: T}\ntarget: {table: a}\nfields: {x: {from: X}}\n"


def load(folder: Path, text: str, **variables: str) -> Project:
    (folder / "environments").mkdir(exist_ok=True)
    (folder / "environments" / "dev.yaml").write_text(text)
    (folder / "example.yaml").write_text(MAPPING)
    return load_project(read_settings({"LEGACY_SYNC_MAPPINGS": str(folder), **variables}))


def test_generated_part_is_up_to_date() -> None:
    command = "run python -m legacy_sync.mapping.reference docs/notifications.md"
    assert replace_generated(TEXT, render_notifications) == TEXT, command


def test_the_example_loads_and_blank_channels_are_off(tmp_path: Path) -> None:
    variables = {"NOTIFY_ADMIN": "json://127.0.0.1/x", "LEGACY_SYNC_NOTIFY": "json://127.0.0.1/y  json://127.0.0.1/z"}
    project = load(tmp_path, EXAMPLE, **variables)
    settings = read_settings({"LEGACY_SYNC_MAPPINGS": str(tmp_path), **variables})
    desk = Desk(settings, project.notifications, project.mappings)
    assert [channel.name for channel in desk.channels] == ["admin", "json 1", "json 2"]
    assert project.notifications.quarantine.limit("example") == 50
    assert project.notifications.lag.limit("other") == timedelta(hours=6)


def test_the_table_names_every_kind_and_its_times() -> None:
    rules = Notifications().rules
    rows = re.findall(r"^\| (`.*?`) \| .*? \| (.*?) \| (\d+) h.* \|$", TEXT, flags=re.MULTILINE)
    told = {kind: (after, int(hours)) for kinds, after, hours in rows for kind in re.findall(r"`(\w+)`", kinds)}
    assert told == {
        kind: (f"{rules[kind].after.seconds // 60} min" if rules[kind].after else "at once",
               rules[kind].repeat // timedelta(hours=1))
        for kind in KINDS
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "what", "line"),
    [
        ("channels: {a: {url: 'json://u:geheim@h'}}", "a secret stands in the file", 2),
        ("lag: {more_then: 3h}", 'unknown word "more_then"', 2),
        ("quarantine: {entities: {exampel: 3}}", '"exampel" is no entity', 1),
        ("runs: {repeat: soon}", '"soon" is no duration', 2),
        ("timezone: Berlin", '"Berlin" is no time zone', 2),
        ("channels: {a: {url: '${X:-}', kinds: [run]}}", "run", 2),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, said: str, what: str, line: int) -> None:
    with pytest.raises(MappingInvalid) as refusal:
        load(tmp_path, f"notifications:\n  {said}\n")
    assert what in str(refusal.value)
    assert f"environments/dev.yaml:{line}" in str(refusal.value)
    assert "geheim" not in str(refusal.value)
