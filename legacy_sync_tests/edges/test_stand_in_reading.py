"""Does the stand-in answer reads as a real 4D REST server does? Facts by section of the reference."""

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import requests

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef

KUNDEN = TableDef(
    "Kunden",
    (
        AttributeDef("UID", "uuid", indexed=True),
        AttributeDef("Nummer", "long"),
        AttributeDef("Name"),
        AttributeDef("Ort"),
        AttributeDef("aktiv", "bool"),
        AttributeDef("modified_date", "date"),
        AttributeDef("modified_time", "duration"),
        AttributeDef("Logo", "image"),
        AttributeDef("Gruppe", kind="relatedEntity", target="Gruppen", foreign_key="Nummer", inverse="Kunden"),
    ),
)
NAMES = ("Müller", "MULLER", "Meier", "Straße", "O'Brien", "Ärger")


def _uid(number: int) -> str:
    return f"{number:032X}"


@pytest.fixture
def server() -> Iterator[FourDServer]:
    store = Store()
    store.add_table(KUNDEN)
    rows = [
        {
            "UID": _uid(n),
            "Nummer": n,
            "Name": NAMES[n % len(NAMES)],
            "Ort": "Köln" if n % 2 else None,
            "aktiv": n % 3 == 0,
            "modified_date": "0!0!0" if n == 7 else f"{n % 28 + 1}!{n % 12 + 1}!{2020 + n % 5}",
        }
        for n in range(250)
    ]
    store.load("Kunden", rows)
    with FourDServer(store) as running:
        yield running


@pytest.fixture
def http(server: FourDServer) -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def _get(http: requests.Session, server: FourDServer, rest: str, **query: str) -> requests.Response:
    text = "&".join(f"{'' if name == 'plain' else '$'}{name}={quote(value, safe='')}" for name, value in query.items())
    return http.get(f"{server.url}/rest/{rest}" + (f"?{text}" if text else ""), timeout=5)


def _numbers(reply: requests.Response) -> list[int]:
    assert reply.status_code == 200, reply.text
    return [row["Nummer"] for row in reply.json()["__ENTITIES"]]


def _filtered(http: requests.Session, server: FourDServer, text: str, params: str = "[]") -> list[int]:
    return _numbers(_get(http, server, "Kunden", filter=f'"{text}"', params=f"'{params}'", top="1000"))


def test_a_page_has_100_rows_unless_asked(http: requests.Session, server: FourDServer) -> None:
    answer = _get(http, server, "Kunden").json()
    assert (answer["__COUNT"], answer["__FIRST"], answer["__SENT"], len(answer["__ENTITIES"])) == (250, 0, 100, 100)


def test_top_has_no_maximum_and_may_be_quoted(http: requests.Session, server: FourDServer) -> None:
    assert len(_numbers(_get(http, server, "Kunden", limit="100000"))) == 250
    assert len(_numbers(_get(http, server, "Kunden", top="'7'"))) == 7
    assert _get(http, server, "Kunden", top="0").json()["__COUNT"] == 250


def test_sent_comes_last_and_key_is_text(http: requests.Session, server: FourDServer) -> None:
    answer = _get(http, server, "Kunden", top="1").json()
    assert list(answer)[-1] == "__SENT"
    assert answer["__ENTITIES"][0]["__KEY"] == _uid(0)
    assert answer["__ENTITIES"][0]["__STAMP"] == 1


def test_skip_past_the_end_is_empty_and_negative_in_old_versions(server: FourDServer) -> None:
    with FourDServer(server.store, version="v14") as old:
        answer = requests.get(f"{old.url}/rest/Kunden?$skip=300", timeout=5).json()
    assert answer["__ENTITIES"] == []
    assert answer["__SENT"] == -50
    assert list(answer).index("__SENT") < list(answer).index("__FIRST")
    assert "__DATACLASS" not in answer
    assert "__GlobalStamp" not in answer


def test_version_16_quotes_timestamps(server: FourDServer) -> None:
    with FourDServer(server.store, version="v16") as old:
        row = requests.get(f"{old.url}/rest/Kunden?$top=1", timeout=5).json()["__ENTITIES"][0]
    assert row["__TIMESTAMP"].startswith('"')
    assert row["__TIMESTAMP"].endswith('Z"')


def test_unordered_pages_reshuffle_when_data_changes(http: requests.Session, server: FourDServer) -> None:
    before = _numbers(_get(http, server, "Kunden"))
    server.store.update("Kunden", _uid(200), {"Ort": "Bonn"})
    after = _numbers(_get(http, server, "Kunden"))
    assert before != after
    assert sorted(_numbers(_get(http, server, "Kunden", top="1000"))) == list(range(250))


@pytest.mark.parametrize(
    ("decoded", "found"),
    [
        ("$filter=\"Nummer = 1 and Name = 'muller'\"", 1),
        ("$filter='modified_date > \"2024-01-01\"'", 49),
        ("$filter='Nummer = 5' or 'Nummer = 6'", 2),
        ('$filter=Ort = "Bonn"', 250),  # the filter is lost
        ('$filter=modified_date >= "2024-04-01"', 250),  # the filter is lost
    ],
)
def test_splitter_removes_quotes_and_loses_filters(
    http: requests.Session, server: FourDServer, decoded: str, found: int
) -> None:
    answer = http.get(f"{server.url}/rest/Kunden?{quote(decoded, safe='$&')}", timeout=5)
    assert answer.status_code == 200
    assert answer.json()["__COUNT"] == found


@pytest.mark.parametrize(
    ("decoded", "status", "code"),
    [
        ("$filter='modified_date > '2025-01-10''", 500, 1162),
        ('$filter=modified_date > "2025-04-01"', 500, 1162),
        ("$filter='Name = \"O'Brien\"'", 400, 1806),
    ],
)
def test_wrong_quoting_is_refused(
    http: requests.Session, server: FourDServer, decoded: str, status: int, code: int
) -> None:
    answer = http.get(f"{server.url}/rest/Kunden?{quote(decoded, safe='$&')}", timeout=5)
    assert answer.status_code == status
    assert answer.json()["__ERROR"][-1]["errCode"] == code


def test_placeholders_carry_any_text(http: requests.Session, server: FourDServer) -> None:
    found = _filtered(http, server, "Name = :1 and Nummer < :2", r'["O\u0027Brien",20]')
    assert found == [4, 10, 16]


def test_plus_is_no_space(http: requests.Session, server: FourDServer) -> None:
    answer = http.get(f"{server.url}/rest/Kunden?$filter=%22Nummer+=+1%22", timeout=5)
    assert answer.status_code == 500


def test_one_high_byte_is_latin_1_and_more_are_utf_8(http: requests.Session, server: FourDServer) -> None:
    for text in ("M%FCller", "M%C3%BCller"):
        answer = http.get(f"{server.url}/rest/Kunden?$filter=%22Name%20=%20%27{text}%27%22", timeout=5)
        assert answer.json()["__COUNT"] == 84


def test_text_ignores_case_and_accents_and_knows_the_at_sign(http: requests.Session, server: FourDServer) -> None:
    assert len(_filtered(http, server, "Name = 'müller'")) == 84
    assert len(_filtered(http, server, "Name = 'M@'")) == 126
    assert len(_filtered(http, server, "Name = '@strasse@'")) == 42
    assert _filtered(http, server, "Name === 'M@'") == []
    assert len(_filtered(http, server, "Name begin 'me'")) == 42


def test_and_or_have_no_precedence(http: requests.Session, server: FourDServer) -> None:
    assert _filtered(http, server, "Nummer = 1 or Nummer = 2 and Nummer = 2") == [2]
    assert sorted(_filtered(http, server, "Nummer = 1 or (Nummer = 2 and Nummer = 2)")) == [1, 2]
    assert _filtered(http, server, "not(Nummer > 0)") == [0]
    assert _filtered(http, server, "Nummer < 3 except Nummer > 0") == [0]


def test_dates_nulls_and_blank_dates(http: requests.Session, server: FourDServer) -> None:
    assert _filtered(http, server, "modified_date = '0000-00-00'") == [7]
    assert _filtered(http, server, "modified_date = '0!0!0'") == [7]
    assert _filtered(http, server, "modified_date = null") == []
    assert len(_filtered(http, server, "Ort = null")) == 125
    assert 7 in _filtered(http, server, "modified_date < '2020-01-01T00:00:00Z'")


def test_in_and_booleans(http: requests.Session, server: FourDServer) -> None:
    assert sorted(_filtered(http, server, "Nummer in :1", "[[3,4,5]]")) == [3, 4, 5]
    assert len(_filtered(http, server, "aktiv = true and Nummer < 9")) == 3
    assert _get(http, server, "Kunden", filter='"aktiv = True"').status_code == 500


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Nme = 1", 1500),
        ("__KEY = '1'", 1500),
        ("__STAMP > 1", 1500),
        ("Nummer eq 1", 1112),
        ("Nummer = :1", 1279),
        ("Nummer = 1 2", 1200),
        ("(Nummer = 1", 1200),
        ("Nummer = abc", 1280),
    ],
)
def test_every_filter_mistake_is_a_500(http: requests.Session, server: FourDServer, text: str, code: int) -> None:
    answer = _get(http, server, "Kunden", filter=f'"{text}"')
    assert answer.status_code == 500
    assert answer.json()["__ERROR"][0]["errCode"] == code


def test_null_placeholder_is_refused(http: requests.Session, server: FourDServer) -> None:
    answer = _get(http, server, "Kunden", filter='"Ort = :1"', params="'[null]'")
    assert (answer.status_code, answer.json()["__ERROR"][0]["errCode"]) == (500, 1279)


def test_order_by_several_attributes(http: requests.Session, server: FourDServer) -> None:
    answer = _get(http, server, "Kunden", orderby="Ort desc, Nummer", top="2")
    assert _numbers(answer) == [1, 3]
    assert _numbers(_get(http, server, "Kunden", orderby="modified_date", top="1")) == [7]
    wrong = _get(http, server, "Kunden", orderby="Nme")
    assert (wrong.status_code, wrong.json()["__ERROR"][-1]["errCode"]) == (404, 1810)


def test_keyset_paging_sees_every_row_once(http: requests.Session, server: FourDServer) -> None:
    last, seen = "", []
    while True:
        page = _get(http, server, "Kunden", filter='"UID > :1"', params=f"'[\"{last}\"]'", orderby="UID", top="60")
        rows = page.json()["__ENTITIES"]
        if not rows:
            break
        last = rows[-1]["UID"]
        seen += [row["Nummer"] for row in rows]
    assert seen == list(range(250))


def test_keyset_count_is_what_is_left_of_the_filter(http: requests.Session, server: FourDServer) -> None:
    text = '"(UID > :1 and modified_date >= :2) and modified_date < :3"'
    params = f'\'["{_uid(100)}","2024-01-01","2025-01-01"]\''
    answer = _get(http, server, "Kunden", filter=text, params=params, orderby="UID", top="5").json()
    assert answer["__COUNT"] == 30
    assert [row["Nummer"] for row in answer["__ENTITIES"]] == [104, 109, 114, 119, 124]


def test_attribute_list_narrows_rows(http: requests.Session, server: FourDServer) -> None:
    row = _get(http, server, "Kunden/Name,Ort", top="1").json()["__ENTITIES"][0]
    assert list(row) == ["__KEY", "__TIMESTAMP", "__STAMP", "Name", "Ort"]
    row = _get(http, server, "Kunden", attributes="Nummer", top="1").json()["__ENTITIES"][0]
    assert "Nummer" in row
    assert "Name" not in row
    wrong = _get(http, server, "Kunden/Nme")
    assert wrong.status_code == 404
    assert [e["errCode"] for e in wrong.json()["__ERROR"]] == [1500, 1804]


def test_one_entity_ignores_the_filter(http: requests.Session, server: FourDServer) -> None:
    row = _get(http, server, f"Kunden({_uid(3)})", filter='"Nummer = 99"').json()
    assert (row["__entityModel"], row["__DATACLASS"], row["Nummer"]) == ("Kunden", "Kunden", 3)
    assert _get(http, server, "Kunden:Nummer(5)").json()["Nummer"] == 5
    assert _get(http, server, "Kunden(FFFF)").status_code == 404
    assert _get(http, server, f"Kunden({_uid(3)},{_uid(4)})").json()["__COUNT"] == 2


def test_distinct_and_compute_answer_bare_values(http: requests.Session, server: FourDServer) -> None:
    assert _get(http, server, "Kunden/Ort", distinct="true").json() == [None, "Köln"]
    assert _get(http, server, "Kunden/Nummer", compute="$max").json() == 249
    assert _get(http, server, "Kunden/Nummer", compute="$all").json()["Nummer"]["count"] == 250


def test_as_array_speaks_another_dialect(http: requests.Session, server: FourDServer) -> None:
    rows = _get(http, server, "Kunden", asArray="true", orderby="Nummer").json()
    assert len(rows) == 250
    assert rows[7]["modified_date"] == "!!0000-00-00!!"
    assert rows[0]["modified_date"] == "!!2020-01-01!!"
    assert "__TIMESTAMP" not in rows[0]


def test_pictures_are_deferred_and_empty_without_one(http: requests.Session, server: FourDServer) -> None:
    assert _get(http, server, f"Kunden({_uid(1)})").json()["Logo"] is None
    server.store.set_media("Kunden", _uid(1), "Logo", "image/png", b"\x89PNG")
    stub = _get(http, server, f"Kunden({_uid(1)})").json()["Logo"]["__deferred"]
    picture = http.get(server.url + stub["uri"], timeout=5)
    assert stub["image"] is True
    assert (picture.headers["Content-Type"], picture.content) == ("image/png", b"\x89PNG")
    assert _get(http, server, f"Kunden({_uid(2)})/Logo", expand="Logo").content == b""


def test_relations_are_stubs(http: requests.Session, server: FourDServer) -> None:
    stub = _get(http, server, f"Kunden({_uid(12)})").json()["Gruppe"]["__deferred"]
    assert stub == {"uri": "/rest/Gruppen(12)", "__KEY": "12"}


def test_catalog_wraps_one_table_like_all(http: requests.Session, server: FourDServer) -> None:
    everything, one = _get(http, server, "$catalog/$all").json(), _get(http, server, "$catalog/Kunden").json()
    attributes = {a["name"]: a for a in one["dataClasses"][0]["attributes"]}
    assert everything["dataClasses"] == one["dataClasses"]
    assert attributes["UID"]["identifying"] is True
    assert attributes["modified_date"]["simpleDate"] is True
    assert attributes["Gruppe"]["kind"] == "relatedEntity"
    assert one["dataClasses"][0]["key"] == [{"name": "UID"}]
    assert _get(http, server, "$catalog").json()["dataClasses"][0]["dataURI"] == "/rest/Kunden"


@pytest.mark.parametrize("path", ["Kundn", "kunden", "$catalog/Kundn"])
def test_unknown_table_is_1800(http: requests.Session, server: FourDServer, path: str) -> None:
    answer = _get(http, server, path)
    assert (answer.status_code, answer.json()["__ERROR"][0]["errCode"]) == (404, 1800)


@pytest.mark.parametrize(("query", "code"), [("$method=foo", 1812), ("$method=delete", 1813), ("$format=xml", 1801)])
def test_unknown_words_are_refused(http: requests.Session, server: FourDServer, query: str, code: int) -> None:
    answer = http.get(f"{server.url}/rest/Kunden?{query}", timeout=5)
    assert (answer.status_code, answer.json()["__ERROR"][0]["errCode"]) == (400, code)


def test_entity_set_pages_stay_stable_while_rows_change(http: requests.Session, server: FourDServer) -> None:
    first = _get(http, server, "Kunden", orderby="Nummer", method="entityset", top="2").json()
    server.store.delete("Kunden", _uid(2))
    server.store.insert("Kunden", {"Nummer": -1, "Name": "neu"})
    path = first["__ENTITYSET"].removeprefix("/rest/")
    page = _get(http, server, path, skip="1", top="3").json()
    assert page["__COUNT"] == 250
    assert [row.get("Nummer") for row in page["__ENTITIES"]] == [1, None, 3]
    assert page["__ENTITIES"][1] == {"__STAMP": 0}
    clean = _get(http, server, path, clean="true", method="entityset").json()
    assert clean["__COUNT"] == 249


def test_entity_set_expires_and_can_be_released(http: requests.Session, server: FourDServer) -> None:
    def path() -> str:
        answer = _get(http, server, "Kunden", method="entityset").json()
        return str(answer["__ENTITYSET"]).removeprefix("/rest/")

    released, aged = path(), path()
    assert _get(http, server, released, method="release").json() == {"ok": True}
    server.store.clock.advance(hours=3)
    for gone in (released, aged):
        answer = _get(http, server, gone)
        assert (answer.status_code, answer.json()["__ERROR"][0]["errCode"]) == (404, 1802)
    assert _get(http, server, aged, savedfilter='"Nummer < 3"').json()["__COUNT"] == 3


def test_saves_stamp_rows_by_the_clock_of_the_server(http: requests.Session, server: FourDServer) -> None:
    server.store.clock.freeze(datetime(2025, 3, 6, 4, 13, 17, 687_000, tzinfo=UTC))
    server.store.update("Kunden", _uid(1), {"Ort": "Bonn"})
    answer = _get(http, server, f"Kunden({_uid(1)})")
    row = answer.json()
    assert (row["__STAMP"], row["__TIMESTAMP"]) == (2, "2025-03-06T04:13:17.687Z")
    assert (row["modified_date"], row["modified_time"]) == ("6!3!2025", 18_797_687)  # 05:13:17 in Berlin
    assert answer.headers["Date"] == "Thu, 06 Mar 2025 04:13:17 GMT"


def test_tracking_stamps_saves_and_records_deletes(http: requests.Session, server: FourDServer) -> None:
    store = server.store
    assert _get(http, server, "__DeletedRecords").status_code == 404
    store.enable_tracking("Kunden")
    start = _get(http, server, "Kunden", top="0").json()["__GlobalStamp"]
    store.update("Kunden", _uid(1), {"Ort": "Bonn"})
    store.delete("Kunden", _uid(2))
    changed = _get(http, server, "Kunden", filter='"__GlobalStamp >= :1"', params=f"'[{start}]'").json()
    gone = _get(http, server, "__DeletedRecords", filter='"__Stamp >= :1"', params=f"'[{start}]'").json()
    assert [row["Nummer"] for row in changed["__ENTITIES"]] == [1]
    assert changed["__GlobalStamp"] == start + 2
    assert [(r["__TableName"], r["__PrimaryKey"]) for r in gone["__ENTITIES"]] == [("Kunden", _uid(2))]
    store.set_global_stamp(1)
    assert _get(http, server, "Kunden", top="0").json()["__GlobalStamp"] == 1


def test_missing_privilege_nulls_a_column(http: requests.Session, server: FourDServer) -> None:
    server.store.tables["Kunden"].unreadable = frozenset({"Name"})
    answer = _get(http, server, "Kunden").json()
    assert {row["Name"] for row in answer["__ENTITIES"]} == {None}


def test_writing_is_refused_and_counted(http: requests.Session, server: FourDServer) -> None:
    assert http.post(f"{server.url}/rest/Kunden?$method=update", json={"Ort": "x"}, timeout=5).status_code == 401
    assert server.counters.write_attempts == 1


def test_structure_changes_show_in_catalog_and_rows(http: requests.Session, server: FourDServer) -> None:
    new = AttributeDef("Telefon")
    server.store.alter_table("Kunden", add=[new], drop=["Logo"], rename={"Ort": "Stadt"})
    names = {a["name"] for a in _get(http, server, "$catalog/Kunden").json()["dataClasses"][0]["attributes"]}
    row = _get(http, server, f"Kunden({_uid(1)})").json()
    assert {"Telefon", "Stadt"} <= names
    assert not {"Ort", "Logo"} & names
    assert (row["Stadt"], row["Telefon"], row["__STAMP"]) == ("Köln", None, 1)
    assert len(_filtered(http, server, "Stadt = 'koln'")) == 125
