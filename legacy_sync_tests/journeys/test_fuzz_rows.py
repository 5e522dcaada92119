"""Whatever a record holds: it is in the ERP as it was, or parked with its reason. Never lost, never an error."""

from typing import Any

from fuzz_setup import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from journey_setup import PARENTS, VARIANTS, Journey, key_of

TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\x00",
        "a\x00b",
        "\x01\x1f\x7f",
        "\\.",
        "\\N",
        "NULL",
        "null",
        '"',
        '""',
        "'",
        "''",
    ),
    *(",", ";", "a,b\nc", '"a","b"', "x'; drop table core_tag; --", "%s", "{}", "\ufeffx", "\u202eabc", "é" * 300),
    *(
        "𝕏" * 70,
        "x" * 256,
        "x" * 100_000,
        "\u2028",
        "\ud7ff\ue000",
        "\ufffe\uffff",
        "1e5",
        "-0",
        "NaN",
        "Infinity",
        "0x1F",
    ),
    *(
        "5!13!2024",
        "0!0!0",
        "2024-02-30",
        "9999-12-31",
        "12,50",
        "1.234,56",
        "1_000",
        "١٢٣",
        "true",
        "{}",
        "[",
        '{"a":1}',
    ),
)
NUMBERS = (0, -0.0, 1, -1, 0.1, 1e308, 5e-324, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 99999999.995)
OTHERS = (None, True, False, [], [1, "a", None], {}, {"a": {"b": [1]}}, {"__deferred": {"uri": "x"}})
NAMES = ("Nummer", "Bezeichnung", "Beschreibung", "Aktiv", "aktiv", "modified_date", "Preise", "fk_ArtNr", "alteNummer")
VALUES = st.sampled_from((*TEXTS, *NUMBERS, *OTHERS)) | st.text(max_size=30) | st.integers(-(2**63), 2**64 - 1)


SPOILT = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3), min_size=20, max_size=40)


@fuzzed(3, shrink=False)
@given(families=SPOILT, variants=SPOILT)
def test_every_record_is_loaded_as_it_is_or_parked(
    journey: Journey, families: list[dict[str, Any]], variants: list[dict[str, Any]]
) -> None:
    for entity in (PARENTS, VARIANTS):
        journey.remap(entity, max_parked_share=1, deletes={"policy": "ignore"})
    first = 1 + len(journey.store.rows("Artikel_Familie")) + len(journey.store.rows("Artikel_Variante"))
    said = {journey.family(number, **values): values for number, values in enumerate(families, start=first)}
    keys = {
        journey.variant(number, key_of(first), **values)
        for number, values in enumerate(variants, start=first + len(said))
    }
    journey.run(full=True)  # a record with an old day is not new to anybody else
    journey.run(VARIANTS, full=True)
    assert said.keys() - states(journey, PARENTS) == set()
    assert keys - states(journey, VARIANTS) == set()
    for key, name in names_in_erp(journey).items():
        text = said.get(key, {}).get("Bezeichnung")
        if isinstance(text, str) and text.strip():
            assert name.strip() == text.strip()


def names_in_erp(journey: Journey) -> dict[str, str]:
    """The names of families that were loaded, by the key of the record."""
    rows = journey.query(
        "select b.legacy_key as key, e.name from products_parentproduct e"
        " join legacy_sync.binding b on b.erp_key = e.id::text"
        " join legacy_sync.entity n on n.id = b.entity_id and n.name = %s",
        PARENTS,
    )
    return {row["key"]: row["name"] for row in rows}


def states(journey: Journey, entity: str) -> set[str]:
    """The records that are bound or parked, each in one of both only if it waits for something else to come."""
    rows = journey.query(
        "select b.legacy_key as key from legacy_sync.binding b join legacy_sync.entity n on n.id = b.entity_id"
        " where n.name = %s union select q.legacy_key from legacy_sync.quarantine q"
        " join legacy_sync.entity n on n.id = q.entity_id where n.name = %s and q.status in ('open', 'watching')",
        entity,
        entity,
    )
    return {row["key"] for row in rows}
