"""What do the assets show in the UI? Schemas and lineage from the mapping, numbers and tables from a run.

Numbers keep their names from run to run, so that Dagster plots them over time and by partition. In a run
over several partitions each number belongs to its partition; what is only known of the run as a whole is
one JSON value, which no plot adds up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from legacy_sync.erp.catalog import ErpTable
from legacy_sync.mapping.model import FieldMapping, Found
from legacy_sync.mapping.model import Mapping as EntityMapping
from legacy_sync.settings import Settings
from legacy_sync.sync.report import Counts, FetchSummary, ParkedSample, RunReport, link_rates

SHOWN = 50
Metadata = dict[str, dg.MetadataValue[Any]]


def to_metadata(values: Mapping[str, Any]) -> Metadata:
    """Metadata values of anything a run reports; None is left out, numbers of any library become plain ones."""
    return {name: _to_value(value) for name, value in values.items() if value is not None}


def _to_value(value: Any) -> dg.MetadataValue[Any]:
    if isinstance(value, dg.MetadataValue):
        return value
    value = _plain(value)
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, datetime) and value.tzinfo:
        return dg.MetadataValue.timestamp(value)
    if isinstance(value, dict | list):
        return dg.MetadataValue.json(value)
    return dg.MetadataValue.text(str(value))


def _plain(value: Any) -> Any:
    """Plain Python for values of numpy and Decimal, inside of containers too; days and times there as ISO text."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {str(k): _plain_inside(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain_inside(v) for v in value]
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return value.item()
    return value


def _plain_inside(value: Any) -> Any:
    value = _plain(value)
    return value.isoformat() if isinstance(value, date) else value


# --- what a mapping says -------------------------------------------------------------------------


def describe_legacy(mappings: Sequence[EntityMapping], settings: Settings) -> Metadata:
    """Definition metadata of a legacy asset: the columns that are read, and where from."""
    source = mappings[0].source
    attributes = dict.fromkeys([*source.key, *filter(None, [source.cursor])])
    readers = {name: [f"{m.entity}.{c}" for m, c in _read_by(mappings, name)] for name in _attributes(mappings)}
    columns = [
        dg.TableColumn(
            name,
            type="4D",
            description=f"read by {', '.join(readers[name])}" if readers.get(name) else None,
            tags={"legacy_sync/role": "key" if name in source.key else "cursor"} if name in attributes else None,
        )
        for name in dict.fromkeys([*attributes, *readers])
    ]
    url = f"{settings.api_url.rstrip('/')}/rest/{source.table}" if settings.api_url else None
    return to_metadata(
        {
            "dagster/table_name": source.table,
            "dagster/uri": _without_user(url) if url else None,
            "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
        }
    )


def describe_erp(
    mapping: EntityMapping, legacy: dg.AssetKey, parents: Mapping[str, dg.AssetKey], settings: Settings
) -> Metadata:
    """Definition metadata of an ERP asset; `parents` are the assets of referenced tables."""
    columns = [dg.TableColumn(name, type=_type_of(f), description=_origin(f)) for name, f in mapping.fields.items()]
    lineage = {name: _lineage(f, legacy, parents) for name, f in mapping.fields.items()}
    url = settings.erp_url
    return to_metadata(
        {
            "dagster/table_name": mapping.target.table,
            "dagster/uri": f"{_without_user(url)}#{mapping.target.table}" if url else None,
            "dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(columns)),
            "dagster/column_lineage": dg.MetadataValue.column_lineage(
                dg.TableColumnLineage({name: deps for name, deps in lineage.items() if deps})
            ),
            "mapping_version": mapping.version,
        }
    )


def schema_of(mapping: EntityMapping, table: ErpTable) -> dg.MetadataValue[Any]:
    """The mapped columns with the types and constraints PostgreSQL has for them."""
    unique = {u.columns[0] for u in table.uniques if len(u.columns) == 1 and not u.predicate}
    columns = [
        dg.TableColumn(
            name,
            type=table.columns[name].full_type,
            description=_origin(field),
            constraints=dg.TableColumnConstraints(nullable=table.columns[name].nullable, unique=name in unique),
        )
        for name, field in mapping.fields.items()
        if name in table.columns
    ]
    return dg.MetadataValue.table_schema(dg.TableSchema(columns))


def _attributes(mappings: Sequence[EntityMapping]) -> list[str]:
    return list(dict.fromkeys(name for m in mappings for field in m.fields.values() for name in field.attributes))


def _read_by(mappings: Sequence[EntityMapping], attribute: str) -> Iterable[tuple[EntityMapping, str]]:
    return ((m, column) for m in mappings for column, field in m.fields.items() if attribute in field.attributes)


def _type_of(field: FieldMapping) -> str:
    if field.reference:
        return f"key of {field.reference.to}"
    return field.cast[-1].type if field.cast else "as the ERP column"


def _origin(field: FieldMapping) -> str:
    if field.value is not None:
        return f"always {field.value}"
    if field.reference:
        ways = [
            " and ".join(f"{_said(found)} = {path}" for path, found in match.values.items())
            for match in field.reference.match
        ]
        return f"the {field.reference.to} with {' or '.join(ways)}; missing: {field.reference.if_missing}"
    if field.compute:
        return f"pyERP's rule {field.compute.rule} from {', '.join(field.attributes)}"
    if field.erp_rule:
        return f"pyERP's rule {field.erp_rule}, which looks at the ERP row"
    if field.join:
        return f"{' and '.join(field.attributes)} joined"
    said = f"from {' or '.join(field.attributes)}" if field.attributes else ""
    return said + ("; else made of other columns" if said else "made of other columns") if field.compose else said


def _lineage(field: FieldMapping, legacy: dg.AssetKey, parents: Mapping[str, dg.AssetKey]) -> list[dg.TableColumnDep]:
    found = [dg.TableColumnDep(asset_key=legacy, column_name=name) for name in field.attributes]
    if field.reference and field.reference.to in parents:
        parent = parents[field.reference.to]
        columns = [path for match in field.reference.match if not match.key for path in match.values]
        plain = dict.fromkeys(column for column in columns if "." not in column)
        found += [dg.TableColumnDep(asset_key=parent, column_name=column) for column in plain]
    return found


def _said(found: Found) -> str:
    """What a reference is found by, in a few words."""
    return found.from_column or " or ".join(found.attributes) or f"{found.value}"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


# --- what a run did ------------------------------------------------------------------------------


def of_fetch(summary: FetchSummary) -> Metadata:
    """What is known of a fetch as a whole, as numbers; for a run over one partition."""
    return to_metadata(
        {
            "rows_read": summary.rows,
            "rows_fetched": summary.rows,
            "requests": summary.requests,
            "bytes": summary.bytes,
            "seconds_fetch": summary.seconds,
            "rows_per_second": summary.rows / summary.seconds if summary.seconds else None,
            "mode": summary.mode,
            "all_rows_because": summary.reason or None,
            "notes": list(summary.notes) or None,
            "server_time": summary.server_time,
        }
    )


def of_counts(counts: Counts) -> Metadata:
    """The decisions of a load, one number each."""
    numbers = asdict(counts)
    plain = {name: numbers.pop(name) for name in ("conflicts",)}
    rows = {f"rows_{name}": value for name, value in numbers.items()}
    return to_metadata({**rows, "rows_changed": counts.changed, **plain})


def of_lag(changes_up_to: Sequence[datetime | None]) -> Metadata:
    """How old the oldest change may be that is not in the ERP; unknown before everything was read once."""
    known = [up_to for up_to in changes_up_to if up_to]
    if not known or len(known) < len(changes_up_to):
        return {}
    return to_metadata({"lag_seconds": (datetime.now(UTC) - min(known)).total_seconds()})


def of_load(report: RunReport, bound: int) -> Metadata:
    """What a load did beyond the counts, as numbers and tables; `bound` rows of the ERP table are ours."""
    seconds = {f"seconds_{stage}": spent for stage, spent in report.seconds.items()}
    total = sum(report.seconds.values())
    links = {f"link_rate_{column}": rate for column, rate in link_rates(report.links).items()}
    return to_metadata(
        {
            "dagster/row_count": bound,
            "rows_fetched": report.taken.rows,
            "requests": report.taken.cost.requests,
            "bytes": report.taken.cost.bytes,
            "seconds_fetch": report.taken.cost.seconds,
            "all_rows_because": report.taken.all_rows_because or None,
            **seconds,
            "rows_per_second": report.counts.read / total if total else None,
            **links,
            "watermark": report.watermark,
            "mode": report.mode,
            "run": report.run_id,
            "parked_by_reason": report.parked_by_reason or None,
            "columns_changed": report.columns_changed or None,
            "warnings": report.warnings or None,
            "links": report.links or None,
            "parked": parked_table(report.parked_sample) if report.parked_sample else None,
        }
    )


def parked_table(rows: Sequence[ParkedSample]) -> dg.MetadataValue[Any]:
    """Parked rows as a table, at most 50."""
    names = ("key", "reason", "column", "value", "message")
    records = [(r.legacy_key, r.reason, r.column, r.value, r.message) for r in rows[:SHOWN]]
    return table_of(names, records)


def table_of(names: Sequence[str], records: Iterable[Sequence[Any]]) -> dg.MetadataValue[Any]:
    """A table of texts and numbers."""
    rows = [dg.TableRecord(dict(zip(names, map(_plain_inside, record), strict=True))) for record in records]
    schema = dg.TableSchema([dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table(rows, schema)
