"""Does the 4D source keep the contract of `sources/base.py`?"""

import logging
import threading
from datetime import UTC, date, datetime

import pytest
from four_d_setup import KUNDEN, QUICK, build_store, keys_of, kunde, read_all, source_of, uid

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.errors import SourceRefused, SourceUntrustworthy
from legacy_sync.settings import Settings
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d.client import RestPath, SimpleAPIClient
from legacy_sync.sources.four_d.session import Credentials
from legacy_sync.sources.four_d.source import FourDSource

OCTOBER = datetime(2025, 10, 5, 6, 0, tzinfo=UTC)


@pytest.fixture
def server():
    with FourDServer(build_store(), licences=2) as running:
        yield running


def settings_of(url: str, **more: str) -> Settings:
    return Settings("test", __file__, "", api_url=url, **more)


def test_every_row_comes_once_in_batches_of_a_page(server):
    fetch = source_of(server).fetch(Scope("Kunden", page_size=10))
    assert fetch.total is None
    assert [batch.num_rows for batch in fetch] == [10, 10, 5]
    assert (fetch.total, fetch.report.rows, fetch.report.complete) == (25, 25, True)
    assert fetch.report.bytes > 5000


@pytest.mark.parametrize("version", ["v14", "v16", "v18", "v20"])
def test_every_version_of_the_server_is_read_alike(version):
    with FourDServer(build_store(), version=version) as server:
        rows, fetch = read_all(source_of(server))
    assert len(rows) == 25
    assert rows[0]["__TIMESTAMP"].endswith("Z")
    assert fetch.report.complete


def test_a_table_that_fills_its_pages_exactly_ends(server):
    for number in range(26, 31):
        server.store.insert("Kunden", kunde(number))
    rows, fetch = read_all(source_of(server))
    assert len(rows) == 30
    assert fetch.report.complete


def test_an_empty_table_is_complete_without_a_batch(server):
    rows, fetch = read_all(source_of(server), "Leer")
    assert rows == []
    assert (fetch.total, fetch.report.complete) == (0, True)


def test_numeric_keys_are_paged_as_numbers_and_umlauts_survive(server):
    rows, fetch = read_all(source_of(server), "Währungen", page_size=2)
    assert [row["Nummer"] for row in rows] == [2, 9, 10, 100]
    assert rows[3]["Kürzel"] == "W100"
    assert fetch.report.complete


def test_umlauts_in_table_and_attribute_names_work_in_filters(server):
    client = source_of(server).client
    rows = read_all(source_of(server), "Währungen", key_from="9", key_to="100")[0]
    assert [row["Nummer"] for row in rows] == [9, 10]
    path = RestPath.table("Währungen", ("Kürzel",))
    answer = client.get(path, {"$orderby": '"Kürzel"'}, check=lambda parsed, _: parsed)
    assert [row["Kürzel"] for row in answer.value["__ENTITIES"]] == ["W10", "W100", "W2", "W9"]


def test_a_window_takes_what_lies_in_it(server, day):
    server.store.update("Kunden", uid(3), {"modified_date": "1!4!2025"}, silent=True)
    server.store.update("Kunden", uid(4), {"modified_date": "30!4!2025"}, silent=True)
    server.store.update("Kunden", uid(5), {"modified_date": "1!5!2025"}, silent=True)
    window = {"cursor": "modified_date", "cursor_from": day("2025-04-01"), "cursor_to": day("2025-05-01")}
    rows, fetch = read_all(source_of(server), **window)
    assert keys_of(rows) == [uid(3), uid(4)]
    assert fetch.report.complete


def test_the_first_window_takes_rows_without_a_cursor_too(server, day):
    for number, value in ((1, None), (2, "0!0!0"), (3, "1!1!2026")):
        server.store.update("Kunden", uid(number), {"modified_date": value}, silent=True)
    rows, _ = read_all(source_of(server), cursor="modified_date", cursor_to=day("2026-01-01"))
    assert keys_of(rows) == [uid(n) for n in range(1, 26) if n != 3]


def test_a_key_range_is_half_open(server):
    rows, fetch = read_all(source_of(server), key_from=uid(5), key_to=uid(8))
    assert keys_of(rows) == [uid(5), uid(6), uid(7)]
    assert fetch.report.complete


def test_a_key_range_of_a_numeric_key_needs_numbers(server):
    with pytest.raises(SourceRefused, match="no whole number"):
        read_all(source_of(server), "Währungen", key_from="A")


def test_a_table_without_a_stored_key_is_read_through_an_entity_set(server):
    rows, fetch = read_all(source_of(server), "Protokoll")
    assert sorted(row["Zeile"] for row in rows) == sorted(f"Zeile {n}" for n in range(1, 26))
    assert fetch.report.complete
    assert server.api.entity_sets == {}
    assert server.log[-1].query == {"$method": "release"}


def test_an_entity_set_that_expires_is_built_again_without_doubles(server):
    server.faults.add("set_expired", table="Protokoll", times=1, after=2)
    rows, fetch = read_all(source_of(server), "Protokoll")
    assert len(rows) == len({row["__KEY"] for row in rows}) == 25
    assert fetch.report.complete
    assert "built again" in fetch.report.notes[0]


def test_rows_changed_while_an_entity_set_is_read_are_neither_lost_nor_doubled(server):
    server.faults.add("churn", table="Protokoll")
    server.faults.add("set_expired", table="Protokoll", times=1, after=3)
    before = set(server.store.tables["Protokoll"].position)
    rows, _ = read_all(source_of(server), "Protokoll", page_size=5)
    assert before & set(server.store.tables["Protokoll"].position) <= set(keys_of(rows))
    assert len(set(keys_of(rows))) == len(rows)


def test_a_repeated_page_of_an_entity_set_is_noticed(server):
    server.faults.add("repeat_page", table="Protokoll", after=1)
    with pytest.raises(SourceUntrustworthy, match="a row came twice"):
        read_all(source_of(server), "Protokoll")


def test_the_server_clock_is_the_mark(server):
    server.store.clock.freeze(OCTOBER)
    _, fetch = read_all(source_of(server))
    assert OCTOBER >= fetch.report.server_time > datetime(2025, 10, 5, 5, 59, 50, tzinfo=UTC)


def test_a_probe_costs_one_request(server, day):
    source = source_of(server)
    server.store.update("Kunden", uid(3), {"modified_date": "17!4!2025"}, silent=True)
    source.describe()
    server.counters.reset()
    probe = source.probe("Kunden", "modified_date", day("2025-04-01"))
    assert (probe.count, probe.newest) == (1, date(2025, 4, 17))
    assert server.counters.requests == {"Kunden": 1}


def test_a_probe_without_a_cursor_counts_all_rows(server):
    probe = source_of(server).probe("Kunden", None, None)
    assert (probe.count, probe.newest) == (25, None)


@pytest.mark.parametrize("table", ["Kunden", "Währungen", "Protokoll", "Leer"])
def test_a_key_sweep_brings_every_key_as_text(server, table):
    keys = [key for batch in source_of(server).fetch_keys(table) for key in batch]
    assert sorted(keys) == sorted(server.store.tables[table].position)


def test_a_key_sweep_asks_for_keys_only(server):
    assert sum(len(batch) for batch in source_of(server).fetch_keys("Kunden")) == 25
    assert server.log[-1].path == "/rest/Kunden/UID"


def test_describe_shows_attributes_kinds_and_key(server):
    kunden = source_of(server).describe()["Kunden"]
    assert kunden.key == ("UID",)
    assert kunden.names == tuple(attribute.name for attribute in KUNDEN.attributes)
    assert {a.name for a in kunden.attributes if not a.stored} == {"Gruppe"}
    assert next(a.type for a in kunden.attributes if a.name == "modified_time") == "duration"


def test_relations_are_left_out_and_objects_become_json(server):
    batch = next(iter(source_of(server).fetch(Scope("Kunden", page_size=2))))
    assert "Gruppe" not in batch.schema.names
    assert batch.column("data_").to_pylist() == ['{"Nr":1}', '{"Nr":2}']


def test_an_unknown_table_is_refused_with_close_names(server):
    with pytest.raises(SourceRefused, match='no table "Kunde"') as caught:
        read_all(source_of(server), "Kunde")
    assert '"Kunden"' in caught.value.next_step


def test_an_unknown_cursor_is_refused_with_close_names(server, day):
    with pytest.raises(SourceRefused, match='no attribute "modifed_date"') as caught:
        read_all(source_of(server), cursor="modifed_date", cursor_from=day("2025-01-01"))
    assert "modified_date" in caught.value.next_step


def test_a_filter_the_server_cannot_read_is_refused_without_a_second_try(server, day):
    with pytest.raises(SourceRefused, match="1500"):
        source_of(server).probe("Kunden", "gibtsnicht", day("2025-01-01"))
    assert server.counters.requests["Kunden"] == 1


def test_closing_a_fetch_early_leaves_no_thread(server):
    batches = iter(source_of(server).fetch(Scope("Kunden", page_size=2)))
    next(batches)
    batches.close()
    assert [t.name for t in threading.enumerate() if "four_d" in t.name] == []
    assert server.counters.requests["Kunden"] <= 5


def test_a_slow_reader_does_not_make_the_whole_table_come(server):
    batches = iter(source_of(server).fetch(Scope("Kunden", page_size=1)))
    next(batches)
    assert server.counters.requests["Kunden"] <= 4
    batches.close()


def test_a_fetch_is_for_one_iteration(server):
    _, fetch = read_all(source_of(server))
    with pytest.raises(RuntimeError, match="only once"):
        next(iter(fetch))


def test_nothing_is_asked_before_the_first_batch(server):
    source_of(server).fetch(Scope("Kunden"))
    assert not server.counters.requests


def test_all_clients_of_a_process_share_one_session(server):
    threads = [threading.Thread(target=read_all, args=(source_of(server),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.sessions.opened == 1


def test_only_reading_requests_are_ever_sent(server):
    read_all(source_of(server))
    read_all(source_of(server), "Protokoll")
    assert {seen.method for seen in server.log} == {"GET"}
    assert server.counters.write_attempts == 0


@pytest.mark.parametrize("name", ["$catalog", "Kunden(1)", "a/b", "Kunden?$method=delete", "", "X&Y"])
def test_a_name_that_is_none_is_never_asked_for(server, name):
    with pytest.raises(SourceRefused, match="cannot be asked for"):
        read_all(source_of(server), name)


def test_a_parameter_that_writes_is_never_sent(server):
    with pytest.raises(ValueError, match="not a reading request"):
        source_of(server).client.get(RestPath.table("Kunden"), {"$method": "delete"}, check=lambda parsed, _: parsed)
    assert server.counters.requests["Kunden"] == 0


def test_header_login_reads_as_the_user():
    with FourDServer(build_store(), login="headers", users={"importer": "Äpfel'\"7"}) as server:
        rows, _ = read_all(source_of(server, "importer", "Äpfel'\"7"))
        assert len(rows) == 25
        assert {session.user for session in server.sessions.live.values()} == {"importer"}
        assert server.sessions.opened == 1


def test_a_session_that_expires_is_logged_into_again():
    with FourDServer(build_store(), login="headers", users={"importer": "geheim"}) as server:
        server.faults.add("session_expired", table="Kunden", times=1, after=2)
        assert len(read_all(source_of(server, "importer", "geheim"))[0]) == 25
        assert server.sessions.opened == 2


@pytest.mark.parametrize("login", ["headers", "force"])
def test_a_wrong_password_is_refused_and_shown_nowhere(login, caplog):
    caplog.set_level(logging.DEBUG)
    with FourDServer(build_store(), login=login, users={"importer": "geheim"}) as server:
        source = source_of(server, "importer", "falsches-wort")
        with pytest.raises(SourceRefused) as caught:
            read_all(source)
    for text in (str(caught.value), repr(caught.value), repr(source), caplog.text, str(caught.value.__cause__)):
        assert "falsches-wort" not in text


def test_force_login_authentifies_and_reads():
    with FourDServer(build_store(), login="force", users={"importer": "geheim"}, licences=1) as server:
        assert len(read_all(source_of(server, "importer", "geheim"))[0]) == 25
        assert server.sessions.licences_used == 1
        posts = {seen.path for seen in server.log if seen.method == "POST"}
        assert posts == {"/rest/$catalog/authentify"}


@pytest.mark.parametrize("login", ["open", "headers", "force"])
def test_a_single_licence_is_enough_even_when_the_session_expires(login):
    with FourDServer(build_store(), login=login, users={"importer": "geheim"}, licences=1) as server:
        server.faults.add("session_expired", table="Kunden", times=2, after=2)
        assert len(read_all(source_of(server, "importer", "geheim"))[0]) == 25
        assert server.counters.statuses[402] == 0


def test_force_login_comes_back_after_its_session_ended():
    with FourDServer(build_store(), login="force", users={"importer": "geheim"}) as server:
        server.faults.add("session_expired", table="Kunden", times=1, after=2)
        assert len(read_all(source_of(server, "importer", "geheim"))[0]) == 25


def test_force_login_without_a_user_is_refused_with_a_next_step():
    with FourDServer(build_store(), login="force", users={"importer": "geheim"}) as server:
        with pytest.raises(SourceRefused) as caught:
            read_all(source_of(server))
        assert "LEGACY_API_PASSWORD" in caught.value.next_step


def test_logs_name_cookies_but_never_show_them(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.faults.add("session_expired", table="Kunden", times=1, after=1)
    read_all(source_of(server))
    assert "WASID4D" in caplog.text
    assert "replaced the cookies" in caplog.text
    assert not any(session in caplog.text for session in server.sessions.live)


def test_credentials_in_the_url_are_used_and_hidden():
    with FourDServer(build_store(), login="headers", users={"importer": "ge:heim"}) as server:
        url = server.url.replace("://", "://importer:ge%3Aheim@")
        source = FourDSource(SimpleAPIClient(url + "/rest/", None, QUICK))
        assert len(read_all(source)[0]) == 25
        assert "heim" not in repr(source)
        assert "heim" not in repr(Credentials("importer", "ge:heim"))
