"""Which assets, checks, jobs and schedules do the mappings of this project give? The list beside this file says it.

A change that is meant: `python legacy_sync_tests/guide/test_asset_graph.py > legacy_sync_tests/guide/asset_graph.txt`.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import Settings, read_settings

SNAPSHOT = Path(__file__).with_name("asset_graph.txt")
NOWHERE = "http://127.0.0.1:9", "postgresql://nobody:secret@127.0.0.1:9/nothing"


def settings() -> Settings:
    api, erp = NOWHERE
    return read_settings({"LEGACY_API_URL": api, "ERP_DATABASE_URL": erp})


def describe(definitions: dg.Definitions) -> Iterator[str]:
    for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda s: s.key):
        yield spec.key.to_user_string()
        yield f"  {spec.description}"
        yield f"  group {spec.group_name}; {', '.join(sorted(spec.kinds))}; {', '.join(spec.owners)}"
        yield f"  partitions: {_in_words(spec.partitions_def)}"
        yield f"  after: {', '.join(sorted(d.asset_key.to_user_string() for d in spec.deps)) or 'nothing'}"
        yield f"  tags: {', '.join(f'{k}={v}' for k, v in sorted(spec.tags.items()) if not k.startswith('dagster/'))}"
        yield f"  metadata: {', '.join(sorted(k for k in spec.metadata if k != 'dagster-internal'))}"
    graph = definitions.resolve_asset_graph()
    for assets in definitions.assets or ():
        if isinstance(assets, dg.AssetsDefinition) and len(assets.keys) > 1:
            yield f"step {assets.op.name}: {', '.join(sorted(key.to_user_string() for key in assets.keys))}"
    for check in sorted(graph.asset_check_keys):
        yield f"check {check.asset_key.to_user_string()}: {check.name}"
    for job in sorted(definitions.jobs or (), key=lambda j: j.name):
        yield f"job {job.name}"
    for schedule in definitions.schedules or ():
        yield f"schedule {schedule.name}: {schedule.cron_schedule} {schedule.execution_timezone}"  # type: ignore[union-attr]
    for sensor in definitions.sensors or ():
        yield f"sensor {sensor.name}: every {sensor.minimum_interval_seconds} s"


def _in_words(partitions: dg.PartitionsDefinition | None) -> str:
    if isinstance(partitions, dg.StaticPartitionsDefinition):
        keys = partitions.get_partition_keys()
        return f"{len(keys)} slices, {keys[0]} to {keys[-1]}"
    return str(partitions)


def test_mappings_give_the_listed_assets():
    assert "\n".join(describe(build_definitions(settings()))) + "\n" == SNAPSHOT.read_text()


def test_module_that_dagster_loads_exposes_valid_definitions(monkeypatch: pytest.MonkeyPatch):
    from legacy_sync.definitions import defs

    for name, value in zip(("LEGACY_API_URL", "ERP_DATABASE_URL"), NOWHERE, strict=True):
        monkeypatch.setenv(name, value)
    dg.Definitions.validate_loadable(defs())


def test_both_assets_of_a_mapping_share_one_partitions_object():
    specs = {s.key: s for s in build_definitions(settings()).resolve_all_asset_specs()}
    legacy, erp = dg.AssetKey(["legacy", "Artikel_Familie"]), dg.AssetKey(["erp", "products_parentproduct"])
    assert specs[legacy].partitions_def is specs[erp].partitions_def


def test_columns_are_traced_to_the_legacy_table_and_to_the_parent():
    specs = {s.key: s for s in build_definitions(settings()).resolve_all_asset_specs()}
    variants = specs[dg.AssetKey(["erp", "products_variantproduct"])]
    lineage = variants.metadata["dagster/column_lineage"].value.deps_by_column
    assert {(d.asset_key.path[-1], d.column_name) for d in lineage["parent_id"]} == {
        ("Artikel_Variante", "Familie_"),
        ("products_parentproduct", "legacy_id"),
        ("products_parentproduct", "legacy_base_sku"),
    }


def test_no_definition_carries_a_secret():
    definitions = build_definitions(settings())
    shown = [repr(s.metadata) + repr(s.description) for s in definitions.resolve_all_asset_specs()]
    shown += [repr(resource) for resource in (definitions.resources or {}).values()]
    assert not [text for text in shown if "secret" in text or "nobody" in text]


if __name__ == "__main__":
    print("\n".join(describe(build_definitions(settings()))))
