"""Is the administrator told once of each situation, again when it is time, and of its end; and never of a secret?"""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from journey_setup import PARENTS, VARIANTS, Journey
from notify_setup import Hook, Post, Watcher

from legacy_sync.errors import GuardTripped, NotifyFailed, SourceRefused, SourceUnavailable
from legacy_sync.ledger.notices import look_lock
from legacy_sync.notify.look import look
from legacy_sync.notify.situation import Seen


def fail(journey: Journey, entity: str = PARENTS) -> None:
    """A run that the source refuses."""
    table = journey.said[entity]["source"]["table"]
    journey.remap(entity, source={"table": "Missing"})
    with pytest.raises(SourceRefused):
        journey.run(entity)
    journey.remap(entity, source={"table": table})


def test_failed_run_is_told_once_repeated_when_it_is_time_and_its_end_is_told(watcher: Watcher, hook: Hook):
    watcher.say(ui="https://dagster.example")
    fail(watcher.journey)
    watcher.look()
    assert hook.bodies == []  # the next try may be a minute away
    watcher.look(minutes=3)
    assert hook.subjects == [f"legacy_sync journey: {PARENTS} failed"]
    assert f"`legacy-sync run {PARENTS}`" in hook.last or "  next:  " in hook.last
    assert "  since: " in hook.last
    assert "(3 min)" in hook.last
    assert "Dagster: https://dagster.example" in hook.last
    watcher.look(minutes=1)
    watcher.look(hours=3)
    assert len(hook.bodies) == 1
    watcher.look(hours=1)
    assert hook.subjects[1:] == [f"legacy_sync journey: still: {PARENTS} failed"]
    watcher.journey.run()
    watcher.look(minutes=1)
    assert len(hook.bodies) == 2  # it may fail again at once
    watcher.look(minutes=6)
    assert hook.subjects[2:] == [f"legacy_sync journey: over: {PARENTS} failed"]
    assert "4 h)" in hook.last
    watcher.look(hours=48)
    assert len(hook.bodies) == 3
    assert watcher.journey.query("select * from legacy_sync.notice") == []


def test_several_new_situations_are_one_message(watcher: Watcher, hook: Hook):
    fail(watcher.journey, PARENTS)
    fail(watcher.journey, VARIANTS)
    watcher.look(minutes=3)
    assert hook.subjects == ["legacy_sync journey: 2 entities failed"]
    assert f"{PARENTS}, {VARIANTS}" in hook.last
    assert len(hook.last.splitlines()) <= 10


def test_guard_that_tripped_is_told_at_once_with_the_way_out(watcher: Watcher, hook: Hook):
    for number in range(1, 21):
        watcher.journey.family(number, Bezeichnung_ENG=f"Family {number}")
    watcher.journey.run()
    watcher.journey.store.tables["Artikel_Familie"].unreadable = frozenset({"Bezeichnung_ENG"})
    with pytest.raises(GuardTripped):
        watcher.journey.run(full=True)
    watcher.look()
    assert hook.subjects == [f"legacy_sync journey: a guard stopped {PARENTS}"]
    assert "Bezeichnung_ENG is null in all 20 rows" in hook.last
    assert "right to read Bezeichnung_ENG" in hook.last


def test_source_that_is_away_is_one_message_for_all_its_entities_and_so_is_its_return(watcher: Watcher, hook: Hook):
    watcher.journey.run()
    watcher.journey.server.stop()
    for entity in (PARENTS, VARIANTS):
        with pytest.raises(SourceUnavailable):
            watcher.journey.run(entity)
    watcher.look(minutes=2)
    watcher.look(minutes=4)
    assert hook.subjects == ["legacy_sync journey: four_d is away"]
    watcher.journey.server.start()
    watcher.journey.run()
    watcher.look(minutes=1)
    watcher.look(minutes=6)
    assert hook.subjects[1:] == ["legacy_sync journey: over: four_d is away"]
    watcher.look(hours=2)
    assert len(hook.bodies) == 2  # the variants wait for their next run, and lag would tell


def test_source_in_maintenance_is_nobodys_alarm(watcher: Watcher, hook: Hook):
    watcher.journey.server.stop()
    with pytest.raises(SourceUnavailable):
        watcher.journey.run()
    always = [{"from": "00:00", "to": "12:00"}, {"from": "12:00", "to": "24:00"}]
    watcher.journey.overlay["sources"]["four_d"]["maintenance"] = always
    watcher.journey.close()
    watcher.look(hours=1)
    assert hook.bodies == []


def test_table_that_never_answers_is_told_although_its_source_does(watcher: Watcher, hook: Hook):
    watcher.journey.run(PARENTS)
    for _ in range(2):
        watcher.journey.server.faults.add("http_500", table="Artikel_Variante")
        with pytest.raises(SourceUnavailable):
            watcher.journey.run(VARIANTS)
        watcher.journey.server.faults.clear()
        watcher.journey.run(PARENTS)
    watcher.look(minutes=6)
    assert hook.subjects == [f"legacy_sync journey: {VARIANTS} failed (2 times)"]


def test_parked_rows_are_told_above_their_threshold_daily_and_sooner_when_they_doubled(watcher: Watcher, hook: Hook):
    watcher.say(quarantine={"after": "0s", "more_than": 2})
    watcher.journey.overlay["defaults"] = {"max_parked_share": 1}
    park(watcher.journey, 1, 2)
    watcher.look()
    assert hook.bodies == []
    park(watcher.journey, 3, 5)
    watcher.look(hours=1)
    assert hook.subjects == ["legacy_sync journey: 5 rows are parked"]
    assert f"{PARENTS} 5" in hook.last
    assert "`legacy-sync quarantine list`" in hook.last
    park(watcher.journey, 6, 8)
    watcher.look(hours=1)
    assert len(hook.bodies) == 1
    park(watcher.journey, 9, 10)
    watcher.look(hours=1)
    assert hook.subjects[1:] == ["legacy_sync journey: grown: 10 rows are parked"]
    watcher.look(hours=23)
    watcher.look(hours=1)
    assert hook.subjects[2:] == ["legacy_sync journey: still: 10 rows are parked"]


def park(journey: Journey, first: int, last: int) -> None:
    """Families whose number is no number."""
    journey.store.clock.advance(days=1)
    for number in range(first, last + 1):
        journey.family(number, Nummer=None)
    journey.run()


def test_conflicts_are_told_by_their_number_without_any_value(watcher: Watcher, hook: Hook):
    journey = watcher.journey
    journey.remap(PARENTS, conflicts={"policy": "manual"})
    key = journey.family(1, Bezeichnung="Anna Geheim")
    journey.run()
    journey.store.clock.advance(days=1)
    journey.edit(key, Bezeichnung="Berta Geheim")
    journey.erp_edit("1", name="Carla Geheim")
    journey.run()
    watcher.look()
    assert hook.subjects == ["legacy_sync journey: 1 value waits"]
    assert "`legacy-sync conflicts list`" in hook.last
    assert "Geheim" not in json.dumps(hook.bodies)


def test_entity_that_is_behind_is_told_by_its_limit(watcher: Watcher, hook: Hook):
    watcher.journey.run_all()
    watcher.say(lag={"enabled": True, "more_than": "5h", "entities": {VARIANTS: "9h"}})
    watcher.look(hours=4)
    assert hook.bodies == []
    watcher.look(hours=2)
    assert hook.subjects == [f"legacy_sync journey: {PARENTS} is 6 h behind"]
    watcher.look(hours=4)
    assert hook.subjects[1:] == [f"legacy_sync journey: {VARIANTS} is 10 h behind"]
    watcher.journey.remap(PARENTS, schedule={"every": "1w"})  # two rounds of its schedule are normal
    watcher.look(minutes=1)
    watcher.look(minutes=6)
    assert hook.subjects[2:] == [f"legacy_sync journey: over: {PARENTS} is 10 h behind"]


def test_run_whose_process_is_gone_is_told(watcher: Watcher, hook: Hook):
    watcher.journey.run()
    watcher.journey.execute("update legacy_sync.run set outcome = 'running', finished_at = null")
    watcher.look(minutes=3)
    assert hook.subjects == [f"legacy_sync journey: {PARENTS} failed"]
    assert "the process ended without a word" in hook.last


# --- channels ----------------------------------------------------------------------------------


def test_mail_arrives_with_its_subject_and_lines(watcher: Watcher, post: Post):
    watcher.reach(mail=post.url)
    fail(watcher.journey)
    watcher.look(minutes=3)
    (mail,) = post.mails
    assert mail["Subject"] == f"legacy_sync journey: {PARENTS} failed"
    text = mail.get_body(("plain",))
    assert text is not None
    assert "\n  since: " in text.get_content().replace("\r", "")


def test_broken_channel_holds_up_no_other_and_is_told_when_it_works_again(watcher: Watcher, hook: Hook, post: Post):
    watcher.reach(hook=hook.url, mail=post.url)
    hook.status = 500
    fail(watcher.journey)
    (problem,) = watcher.look(minutes=3).problems
    assert isinstance(problem, NotifyFailed)
    assert "500" in problem.what
    assert [mail["Subject"] for mail in post.mails] == [f"legacy_sync journey: {PARENTS} failed"]
    watcher.look(minutes=20)
    assert [mail["Subject"] for mail in post.mails][1:] == ["legacy_sync journey: the channel hook cannot be reached"]
    watcher.journey.run()
    hook.status = 200
    watcher.look(minutes=10)
    watcher.look(minutes=10)
    assert hook.subjects == [f"legacy_sync journey: over: {PARENTS} failed"]
    watcher.look(minutes=10)
    assert post.mails[-1]["Subject"].startswith("legacy_sync journey: over: ")
    assert watcher.look(hours=1).problems == []


def test_one_variable_is_enough(watcher: Watcher, hook: Hook, post: Post):
    watcher.say(channels={})
    watcher.journey.variables["LEGACY_SYNC_NOTIFY"] = f"{hook.url}\n  {post.url}"
    watcher.journey.close()
    fail(watcher.journey)
    assert list(watcher.look(minutes=3).messages) == ["json 1", "mailto 1"]
    assert (len(hook.bodies), len(post.mails)) == (1, 1)


def test_heartbeat_is_heard_only_while_everybody_could_be_told(watcher: Watcher, hook: Hook):
    watcher.journey.variables["BEAT"] = f"http://{hook.host}/beat"
    watcher.say(heartbeat="${BEAT}")
    watcher.look()
    assert hook.beats == ["/beat"]
    fail(watcher.journey)
    hook.status = 500
    watcher.look(minutes=3)
    assert hook.beats == ["/beat"]
    watcher.journey.run()
    watcher.say(channels={})
    (problem,) = watcher.look(minutes=3).problems
    assert problem.what == "the heartbeat was not taken: HTTP 500"


def test_no_secret_leaves_the_house(watcher: Watcher, hook: Hook):
    watcher.journey.variables |= {"OTHER_PASSWORD": "geheim-1", "SHOP_URL": "https://user:geheim%2D2@shop.example"}
    watcher.journey.close()
    fail(watcher.journey)
    secrets = (
        "geheim-1 https://user:geheim%2D2@shop.example geheim-2 secret-token-of-the-hook Key (mail)=(a@b.de) c@d.de"
    )
    watcher.journey.execute("update legacy_sync.fetch_failure set message = %s", f"it broke: {secrets}")
    hook.status = 500
    report = watcher.look(minutes=3)
    hook.status = 200
    watcher.look(minutes=10)
    told = (
        json.dumps(hook.bodies)
        + str(report.problems[0])
        + str(watcher.journey.query("select * from legacy_sync.channel"))
    )
    assert "it broke: *** https://***@shop.example *** " in hook.last
    assert [s for s in ("geheim", "secret-token", "a@b.de", "c@d.de") if s in told] == []


# --- several at once, and without the ledger ---------------------------------------------------


def test_two_that_look_at_once_tell_once(watcher: Watcher, hook: Hook):
    fail(watcher.journey)
    desks = [watcher.desk for _ in range(4)]
    gate = threading.Barrier(4)
    reports = []

    def look_together(desk) -> None:
        gate.wait()
        now = datetime.now(UTC) + timedelta(minutes=3)
        reports.append(look(desk, watcher.journey.workspace.erp, lambda _: Seen(), now))

    threads = [threading.Thread(target=look_together, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 4
    assert len(hook.bodies) == 1


def test_look_beside_another_one_does_nothing(watcher: Watcher, hook: Hook):
    fail(watcher.journey)
    with watcher.journey.workspace.erp() as connection, look_lock(connection):
        assert watcher.look(minutes=3).is_other_at_work
    assert hook.bodies == []


def test_dry_run_shows_the_message_and_neither_sends_nor_remembers_it(watcher: Watcher, hook: Hook):
    fail(watcher.journey)
    shown = watcher.look(minutes=3, dry_run=True).messages["hook"]
    assert hook.bodies == []
    assert watcher.journey.query("select * from legacy_sync.channel") == []
    assert watcher.look().messages["hook"].subject == shown.subject


def test_erp_database_that_is_away_is_told_without_the_ledger_and_so_is_its_return(
    watcher: Watcher, hook: Hook, erp_url: str
):
    watcher.journey.run()
    watcher.look()
    away = Away(watcher)
    with away:
        watcher.look()
        watcher.look(minutes=6)
        watcher.look(minutes=6)
        assert hook.subjects == ["legacy_sync journey: the ERP database cannot be reached"]
        watcher.look(hours=4)
        assert len(hook.bodies) == 2
    watcher.look(minutes=6)
    watcher.look(minutes=6)
    assert hook.subjects[2:] == ["legacy_sync journey: over: the ERP database cannot be reached"]
    assert not watcher.desk.file.exists()


class Away:
    """The ERP database cannot be reached meanwhile."""

    def __init__(self, watcher: Watcher) -> None:
        self.journey, self.url = watcher.journey, watcher.journey.erp_url

    def __enter__(self) -> None:
        self.journey.close()
        self.journey.erp_url = "postgresql://nobody:geheim@127.0.0.1:1/nothing"

    def __exit__(self, *_: object) -> None:
        self.journey.close()
        self.journey.erp_url = self.url
