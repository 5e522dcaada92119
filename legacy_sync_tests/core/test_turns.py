"""Who may begin, who has to wait, and what happens to those behind a failure?"""

import threading
from collections.abc import Callable

import pytest

from legacy_sync.cli.entities import Result, plan_each, run_each
from legacy_sync.errors import ErpUnavailable, SchemaDrift
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.turns import Turns, Unit, touched_by, units_of


def mapping(entity: str, *parents: str, table: str = "", **words: object) -> Mapping:
    """A mapping that refers to its parents."""
    fields = {f"{p}_id": {"reference": {"to": p, "match": [{"column": "id", "from": "X"}]}} for p in parents}
    said = {"entity": entity, "source": {"table": table or entity.upper()}, "target": {"table": entity}}
    return Mapping.model_validate({**said, "fields": {"name": {"from": "Name"}, **fields}, **words})


def project(*mappings: Mapping) -> Project:
    return Project({m.entity: m for m in mappings}, {}, 3, Notifications(), "test", {}, "")


def names(unit: Unit | None) -> str:
    return " ".join(m.entity for m in unit or ())


def taken(turns: Turns, *settled: str) -> list[str]:
    """All that may begin now."""
    found = []
    while unit := turns.take(settled):
        found.append(names(unit))
    return found


PAPERS = {"unit": {"name": "papers", "key": "Nr"}}


def test_parents_begin_first_and_independent_ones_with_them():
    made = project(mapping("child", "parent"), mapping("parent"), mapping("other"))
    turns = Turns(made, made.ordered())
    assert taken(turns) == ["parent", "other"]
    assert taken(turns, "other") == []
    assert taken(turns, "other", "parent") == ["child"]
    assert len(turns) == 0


def test_those_with_many_behind_them_begin_first():
    made = project(mapping("a"), mapping("b"), mapping("c", "b"), mapping("d", "c"), mapping("e", "b"))
    turns = Turns(made, made.ordered())
    assert taken(turns) == ["b", "a"]
    assert taken(turns, "b") == ["c", "e"]


def test_child_waits_for_a_grandparent_although_the_parent_does_not_run():
    made = project(mapping("a"), mapping("b", "a"), mapping("c", "b"))
    turns = Turns(made, [made.get("a"), made.get("c")])
    assert taken(turns) == ["a"]
    assert turns.parents_of((made.get("c"),)) == {"a"}


def test_readers_of_one_table_take_turns():
    made = project(mapping("a", table="T"), mapping("b", table="T"))
    turns = Turns(made, made.ordered())
    first = turns.take(())
    assert taken(turns) == []
    assert first is not None
    turns.end(first)
    assert taken(turns, names(first)) == ["b"]


def test_those_that_write_to_the_same_table_take_turns():
    fill = {"backfill": [{"column": "name", "through": "p_id", "into": "name"}]}
    made = project(mapping("p"), mapping("a", "p", **fill), mapping("b", "p", **fill), mapping("c", "p"))
    turns = Turns(made, made.ordered())
    assert taken(turns) == ["p"]
    turns.end((made.get("p"),))
    assert taken(turns, "p") == ["a", "c"]


def test_texts_made_of_rows_are_written_with_them():
    composed = {"fields": {"name": {"compose": [{"parts": [{"column": "city", "to": "b", "where": {"nr": "nr"}}]}]}}}
    made = project(mapping("a", **composed), mapping("b"))
    assert touched_by((made.get("b"),), made.mappings.values()) == {"b", "a", "four_d/B"}


def test_unit_comes_whole_although_one_member_was_named():
    made = project(mapping("pos", "head", **PAPERS), mapping("head", **PAPERS), mapping("other"))
    assert [names(unit) for unit in units_of(made, [made.get("pos")])] == ["head pos"]
    assert taken(Turns(made, made.ordered())) == ["head pos", "other"]


def test_units_that_wait_for_each_other_do_not_hang():
    made = project(mapping("a", **PAPERS), mapping("x", "a"), mapping("b", "x", **PAPERS))
    turns = Turns(made, made.ordered())
    assert len(taken(turns)) >= 1


# --- several at a time


def report(unit: Unit) -> dict[str, RunReport]:
    return {m.entity: RunReport(m.entity) for m in unit}


def outcomes(results: list[Result]) -> dict[str, tuple[str, str | None]]:
    return {r.entity: (r.outcome, r.waits_for) for r in results}


def failing(*entities: str) -> Callable[[Unit], dict[str, RunReport]]:
    def work(unit: Unit) -> dict[str, RunReport]:
        if any(m.entity in entities for m in unit):
            raise ErpUnavailable("locked", where="here", next_step="wait")
        return report(unit)

    return work


FAMILY = (mapping("a"), mapping("b", "a"), mapping("c", "b"), mapping("d"), mapping("e", "d"))


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_failure_stops_only_those_that_build_on_it(jobs: int):
    made = project(*FAMILY)
    results = run_each(made, made.ordered(), failing("a"), {}, jobs=jobs)
    assert outcomes(results) == {
        "a": ("failed", None),
        "b": ("skipped", "a"),
        "c": ("skipped", "a"),
        "d": ("succeeded", None),
        "e": ("succeeded", None),
    }
    assert [r.entity for r in results] == [m.entity for m in made.ordered()]


def test_independent_ones_run_at_the_same_time():
    made = project(mapping("a"), mapping("b"))
    both = threading.Barrier(2)

    def work(unit: Unit) -> dict[str, RunReport]:
        both.wait(timeout=20)
        return report(unit)

    assert all(r.report for r in run_each(made, made.ordered(), work, {}, jobs=2))


def test_one_job_runs_one_after_the_other_in_the_order_of_all():
    made = project(*FAMILY)
    seen: list[tuple[str, bool]] = []

    def work(unit: Unit) -> dict[str, RunReport]:
        seen.append((names(unit), threading.current_thread() is threading.main_thread()))
        return report(unit)

    run_each(made, made.ordered(), work, {}, jobs=1)
    assert seen == [(m.entity, True) for m in made.ordered()]


def test_drifted_member_stops_its_unit_and_says_so():
    made = project(mapping("head", **PAPERS), mapping("pos", "head", **PAPERS), mapping("child", "pos"))
    drift = SchemaDrift("no column", where="here", next_step="add it")
    results = run_each(made, made.ordered(), report, {"pos": drift}, jobs=2)
    assert outcomes(results) == {"head": ("skipped", "pos"), "pos": ("failed", None), "child": ("skipped", "pos")}


def test_failure_of_a_unit_is_that_of_all_members():
    made = project(mapping("head", **PAPERS), mapping("pos", "head", **PAPERS), mapping("child", "pos"))
    results = run_each(made, made.ordered(), failing("head"), {}, jobs=2)
    assert [r.outcome for r in results] == ["failed", "failed", "skipped"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_anything_but_our_errors_ends_the_command(jobs: int):
    made = project(mapping("a"), mapping("b"))

    def work(unit: Unit) -> dict[str, RunReport]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_each(made, made.ordered(), work, {}, jobs=jobs)


def test_interrupt_tells_the_others_to_stop():
    made = project(mapping("a"), mapping("b"))
    stopped, began = threading.Event(), threading.Event()

    def work(unit: Unit) -> dict[str, RunReport]:
        if names(unit) == "b":
            began.set()
            stopped.wait(20)
            return report(unit)
        began.wait(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_each(made, made.ordered(), work, {}, jobs=2, stop=stopped.set)
    assert stopped.is_set()


def test_plans_of_a_unit_come_together_and_a_failure_stops_what_builds_on_it():
    made = project(mapping("head", **PAPERS), mapping("pos", "head", **PAPERS), mapping("child", "pos"), mapping("z"))
    begun: list[list[str]] = []

    def plan(mappings):
        begun.append([m.entity for m in mappings])
        for m in mappings:
            if m.entity == "pos":
                raise ErpUnavailable("locked", where="here", next_step="wait")
            yield RunReport(m.entity, outcome="planned")

    results = plan_each(made, made.ordered(), plan, {})
    assert outcomes(results) == {
        "head": ("failed", None),
        "pos": ("failed", None),
        "z": ("planned", None),
        "child": ("skipped", "head"),
    }
    assert begun == [["head", "pos", "z", "child"], ["z"]]
