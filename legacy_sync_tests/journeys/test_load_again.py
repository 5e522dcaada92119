"""Is a part of a load that PostgreSQL could not finish done again, neither twice nor by half, and is it told?"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from journey_setup import PARENTS, Journey
from lost_answers import Door, Fate
from shop_setup import DOCUMENTS, Shop

from legacy_sync.errors import EntityBusy, ErpUnavailable
from legacy_sync.sync.pipeline import fetch_table, load_entity

LONG = 30
ONCE = """
create sequence once;
create function fail_once() returns trigger language plpgsql as $$
begin
  if nextval('once') = 1 then raise exception 'could not serialize access' using errcode = '40001'; end if;
  return new;
end $$;
create trigger t before insert or update on {table} for each row execute function fail_once();
"""


@contextmanager
def erp_user(journey: Journey, statement: str) -> Iterator[psycopg.Connection]:
    """Somebody has executed this in pyERP and not committed yet."""
    with psycopg.connect(journey.erp_url, application_name="pyERP") as connection:
        connection.execute(statement)  # type: ignore[arg-type]
        yield connection


def wait_until_a_load_waits(journey: Journey, *, is_waiting: bool = True) -> None:
    query = "select from pg_stat_activity where application_name = 'legacy_sync' and wait_event_type = 'Lock'"
    for _ in range(5000):
        if bool(journey.query(query)) == is_waiting:
            return
    raise AssertionError("no load waits for a lock")


def bound_twins(journey: Journey) -> list[str]:
    """Two families that are in the ERP and have changed in 4D since."""
    keys = [journey.family(n, Gewicht=n) for n in (1, 2)]
    journey.run()
    for key in keys:
        journey.edit(key, Gewicht=50)
    return keys


def test_deadlock_with_a_person_is_tried_again_and_both_edits_stay(journey: Journey):
    bound_twins(journey)
    journey.execute(
        "do $$ begin execute format('alter database %%I set deadlock_timeout = 500', current_database()); end $$"
    )
    with erp_user(
        journey, "set deadlock_timeout = '1min'; update products_parentproduct set name = 'B' where sku = '2'"
    ) as user:

        def close_the_circle() -> None:
            wait_until_a_load_waits(journey)
            user.execute("update products_parentproduct set name = 'A' where sku = '1'")
            user.commit()

        person = threading.Thread(target=close_the_circle)
        person.start()
        report = journey.run()
        person.join(LONG)
    assert [(r["name"], r["weight"]) for r in (journey.row("1"), journey.row("2"))] == [("A", 50), ("B", 50)]
    assert report.repeated == {"the ERP database could not go on: deadlock detected": 1}
    assert report.counts.updated == 2
    assert "a part of the load was tried again (1 times): the ERP database could not go on" in report.remarks[0]


def test_load_that_waits_for_a_person_fails_soon_and_says_for_whom(journey: Journey):
    journey.overlay["erp"] = {"lock_timeout": "100ms"}
    journey.remap(PARENTS, retry={"attempts": 2})
    bound_twins(journey)
    with erp_user(journey, "select from products_parentproduct where sku = '2' for update") as user:
        with pytest.raises(ErpUnavailable) as failed:
            journey.run()
        pid = user.info.backend_pid
    told = str(failed.value)
    assert 'a row of "products_parentproduct" was not free in time' in told
    assert f'held by database session {pid} of pyerp with "pyERP", open since 20' in told
    assert "(tried 2 times in " in told
    assert f"pg_terminate_backend({pid})" in told
    assert "for update" not in told
    assert journey.row("1")["weight"] == 1
    journey.run()
    assert (journey.row("1")["weight"], journey.row("2")["weight"]) == (50, 50)


def test_load_that_waits_for_a_whole_table_says_for_whom(journey: Journey):
    journey.overlay["erp"] = {"lock_timeout": "100ms"}
    journey.remap(PARENTS, retry={"attempts": 1})
    bound_twins(journey)
    with (
        erp_user(journey, "lock table products_parentproduct in exclusive mode") as user,
        pytest.raises(
            ErpUnavailable, match=f"a lock was not free in time; held by database session {user.info.backend_pid}"
        ),
    ):
        journey.run()


def test_row_that_is_free_again_in_time_is_written(journey: Journey):
    journey.overlay["erp"] = {"lock_timeout": "100ms"}
    bound_twins(journey)
    with erp_user(journey, "select from products_parentproduct where sku = '1' for update") as user:

        def end_too_late_for_the_first_try() -> None:
            wait_until_a_load_waits(journey)
            wait_until_a_load_waits(journey, is_waiting=False)
            user.rollback()

        person = threading.Thread(target=end_too_late_for_the_first_try)
        person.start()
        report = journey.run()
        person.join(LONG)
    assert journey.row("1")["weight"] == 50
    assert sum(report.repeated.values()) >= 1


def test_serialisation_failure_is_tried_again(journey: Journey, caplog: pytest.LogCaptureFixture):
    bound_twins(journey)
    journey.family(3, Bezeichnung="")
    journey.execute(ONCE.format(table=PARENTS))
    with caplog.at_level(logging.WARNING):
        report = journey.run()
    assert (report.counts.read, report.counts.updated, report.counts.parked) == (3, 2, 1)
    assert [sample.reason for sample in report.parked_sample] == ["required"]
    assert "could not serialize access; the same part again in " in caplog.text
    assert "try 2 of 5; load of products_parentproduct, partition all" in caplog.text


def test_statement_that_takes_too_long_is_ended_and_not_sent_again(journey: Journey):
    bound_twins(journey)
    journey.execute(
        "create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(5); return new; end $$;"
        " create trigger t before update on products_parentproduct for each statement execute function dawdle()"
    )
    journey.overlay["erp"] = {"statement_timeout": "300ms"}
    journey.close()
    with pytest.raises(
        ErpUnavailable, match=r"ended a statement: canceling statement due to statement timeout\n"
    ) as failed:
        journey.run()
    assert "erp.statement_timeout" in failed.value.next_step
    assert journey.row("1")["weight"] == 1


def test_first_import_while_fetching_says_that_it_is_not_tried_again(journey: Journey):
    journey.family(1)
    journey.execute(ONCE.format(table=PARENTS))
    with pytest.raises(ErpUnavailable, match="cannot be tried again within the run"):
        journey.run()
    assert journey.skus() == []
    assert journey.run().counts.inserted == 1


@pytest.mark.parametrize("fate", ["answer lost", "commit lost", "server not told"])
def test_commit_without_an_answer_is_looked_up_in_the_ledger(journey: Journey, fate: Fate):
    (key, _) = bound_twins(journey)
    fetch_table(journey.workspace, journey.workspace.project.get(PARENTS))
    journey.close()
    with Door(journey.erp_url) as door:
        journey.erp_url, direct = door.url, journey.erp_url
        journey.family(3)
        journey.family(4, Bezeichnung="")
        fetch_table(journey.workspace, journey.workspace.project.get(PARENTS))
        door.fates = [fate]
        report = load_entity(journey.workspace, journey.workspace.project.get(PARENTS))
        assert door.fates == []
        journey.close()
        journey.erp_url = direct
    assert (report.counts.inserted, report.counts.updated, report.counts.parked) == (1, 2, 1)
    assert journey.skus() == ["1", "2", "3"]
    assert len(journey.query("select from legacy_sync.change where kind = 'update' and legacy_key = %s", key)) == 1
    (run,) = journey.query("select counts, report, outcome from legacy_sync.run order by id desc limit 1")
    assert run["counts"]["updated"] == 2
    assert (sum(report.repeated.values()), run["outcome"]) == (1, "succeeded_with_parked")
    assert run["report"]["repeated"] == report.repeated


@pytest.mark.parametrize("fate", ["answer lost", "commit lost"])
def test_unit_whose_commit_has_no_answer_is_in_once_and_whole(shop: Shop, fate: Fate):
    shop.overlay["defaults"]["retry"] = {"first_pause": "10ms"}
    shop.document(1)
    shop.run(DOCUMENTS)
    shop.document(2)
    shop.position(2, 1)
    shop.position(2, 2, Preis="viel")
    shop.document(3)
    shop.position(3, 1)
    shop.close()
    with Door(shop.erp_url) as door:
        shop.erp_url, direct = door.url, shop.erp_url
        door.fates = [fate]
        report = shop.run(DOCUMENTS)
        shop.close()
        shop.erp_url = direct
    assert shop.documents() == {"1": [], "3": [1]}
    assert report.counts.inserted == 1
    assert sum(report.repeated.values()) == 1


def test_run_whose_place_was_taken_while_it_had_no_connection_ends(journey: Journey):
    bound_twins(journey)
    fetch_table(journey.workspace, journey.workspace.project.get(PARENTS))
    with psycopg.connect(journey.erp_url, autocommit=True) as other:

        def come_between(*_: object) -> None:
            other.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'legacy_sync'"
                " and datname = current_database()"
            )
            other.execute(
                "select pg_advisory_lock(%s, id) from legacy_sync.entity where name = %s", [1_279_611_219, PARENTS]
            )

        with pytest.raises(EntityBusy):
            load_entity(journey.workspace, journey.workspace.project.get(PARENTS), progress=come_between)
    assert journey.row("1")["weight"] == 1
    assert [r["outcome"] for r in journey.query("select outcome from legacy_sync.run order by id")][-1] == "failed"
