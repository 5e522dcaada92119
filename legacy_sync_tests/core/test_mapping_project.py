"""All mappings together: names, order, cycles, and what the environment says differently."""

from datetime import timedelta

import pytest

from legacy_sync.errors import EntityUnknown


def mapping(table, *references, **words):
    lines = ["source: {table: T}", f"target: {{table: {table}}}", "fields:", "  sku: {from: Nummer}"]
    lines += [f"  {to}_id: {{reference: {{to: {to}, match: [{{column: k, from: K}}]}}}}" for to in references]
    return "\n".join([*lines, *(f"{word}: {value}" for word, value in words.items())]) + "\n"


def names(mappings):
    return [m.entity for m in mappings]


def test_entity_is_the_file_name(project_of):
    project = project_of(
        {
            "b.yaml": mapping("b"),
            "a.yml": mapping("a"),
            "c.json": '{"source": {"table": "T"}, "target": {"table": "c"}, "fields": {"x": {"from": "X"}}}',
        }
    )
    assert list(project.mappings) == ["a", "b", "c"]
    assert {entity: file.name for entity, file in project.files.items()} == {"a": "a.yml", "b": "b.yaml", "c": "c.json"}


def test_entity_that_differs_from_the_file_name_is_a_problem(problems_of):
    problems = problems_of({"a.yaml": "entity: b\n" + mapping("a")})
    assert problems[0].what == 'the entity is "b", but the file is named "a"'
    assert problems[0].where == "mappings/a.yaml:1, entity"
    assert problems[0].next_step == 'rename the file, or remove the line: the entity is then "a"'


def test_file_name_that_cannot_be_an_entity_is_a_problem(problems_of):
    problems = problems_of({"my mapping.yaml": mapping("a")})
    assert problems[0].what == '"my mapping" cannot name an entity'


def test_entity_with_an_aspect_is_allowed(project_of):
    assert project_of({"sales_salesrecord.payments.yaml": mapping("sales_salesrecord")}).get(
        "sales_salesrecord.payments"
    )


def test_entity_mapped_in_two_files_is_a_problem(problems_of):
    problems = problems_of(
        {
            "a.json": '{"source": {"table": "T"}, "target": {"table": "a"}, "fields": {"x": {"from": "X"}}}',
            "a.yaml": mapping("a"),
        }
    )
    assert [str(p) for p in problems] == [
        "a is mapped twice; the other file is mappings/a.json\n"
        "  where: mappings/a.yaml:1\n"
        "  next:  keep one of the two files"
    ]


def test_folder_without_mappings_is_a_problem(problems_of):
    problem = problems_of({"environments/dev.yaml": "landing_keep: 2\n"})[0]
    assert (problem.what, problem.where) == ("there is no mapping file", "mappings")


def test_unknown_entity_names_the_closest(project_of):
    project = project_of({"products_variant.yaml": mapping("v")})
    with pytest.raises(EntityUnknown) as error:
        project.get("product_variant")
    assert error.value.what == '"product_variant" is no entity'
    assert error.value.next_step.startswith('did you mean "products_variant"?')


def test_referenced_tables_come_first(project_of):
    project = project_of({"a.yaml": mapping("a", "b", "z"), "b.yaml": mapping("b", "c"), "c.yaml": mapping("c")})
    assert names(project.ordered()) == ["c", "b", "a"]
    assert names(project.ordered(["a", "c"])) == ["c", "a"]


def test_independent_mappings_keep_the_order_of_their_files(project_of):
    project = project_of({"c.yaml": mapping("c"), "a.yaml": mapping("a", depends_on="d"), "d.yaml": mapping("d")})
    assert [names(level) for level in project.levels()] == [["c", "d"], ["a"]]


def test_ordered_refuses_unknown_names(project_of):
    with pytest.raises(EntityUnknown, match='"x" is no entity'):
        project_of({"a.yaml": mapping("a")}).ordered(["a", "x"])


def test_table_that_refers_to_itself_is_no_cycle(project_of):
    assert names(project_of({"a.yaml": mapping("a", "a")}).ordered()) == ["a"]


def test_cycle_names_its_entities_and_the_line(problems_of):
    problems = problems_of(
        {"a.yaml": mapping("a", "b"), "b.yaml": mapping("b", depends_on="c"), "c.yaml": mapping("c", "a")}
    )
    assert problems[0].what == "these entities wait for each other: a → b → c → a"
    assert problems[0].where == "mappings/a.yaml:5, fields.b_id.reference.to"
    assert problems[0].next_step == 'remove one of the references or "depends_on" lines'


def test_mappings_of_one_table_must_cut_it_the_same_way(problems_of):
    shared = mapping("a").replace("{table: T}", "{table: T, cursor: m}")
    windows = "partitions: {type: window, size: month, start: 2024-01-01}\n"
    problems = problems_of({"a.yaml": shared, "b.yaml": shared.replace("a}", "b}") + windows})
    assert problems[0].what == 'b and a read "T" in different ways'
    assert problems[0].where == "mappings/b.yaml:5, partitions"
    assert "make partitions the same in both files" in problems[0].next_step


KEYED = "source: {table: T, key: K, other_keys: [UUID]}\ntarget: {table: a}\nfields:\n  sku: {from: Nummer}\n"


def by_key(key):
    return mapping("b").replace("T}", "U}") + f"  a_id: {{reference: {{to: a, match: [{{key: {key}, from: X}}]}}}}\n"


@pytest.mark.parametrize("key", ["K", "UUID"])
def test_reference_by_a_key_that_a_mapping_remembers(project_of, key):
    assert project_of({"a.yaml": KEYED, "b.yaml": by_key(key)}).get("b")


def test_reference_by_a_key_that_no_mapping_remembers_names_the_closest(problems_of):
    (problem,) = problems_of({"a.yaml": KEYED, "b.yaml": by_key("UUDI")})
    assert problem.what == 'no mapping of "a" remembers the key "UUDI"'
    assert problem.where == "mappings/b.yaml:5, fields.a_id.reference.match[0].key"
    assert problem.next_step == (
        'did you mean "UUID"? Otherwise add "other_keys: UUDI" to the source of a, or choose one of K, UUID'
    )


def test_reference_by_a_key_into_a_table_that_nobody_loads_waits(project_of):
    assert project_of({"b.yaml": by_key("UUID")}).get("b")


def test_key_is_not_missed_while_its_mapping_cannot_be_read(problems_of):
    problems = problems_of({"a.yaml": KEYED + "grup: x\n", "b.yaml": by_key("UUID")})
    assert [p.where for p in problems] == ["mappings/a.yaml:5, grup"]


def test_mappings_of_one_unit_must_be_cut_the_same_way(problems_of):
    member = mapping("a", unit="{name: u, key: Nr}", partitions="{type: number_range, attribute: Nr}")
    other = mapping("b", unit="{name: u, key: Nr}", partitions="{type: none}").replace("{table: T}", "{table: U}")
    (problem,) = problems_of({"a.yaml": member, "b.yaml": other})
    assert problem.what == 'b and a are one unit "u", but are cut in different ways'
    assert problem.where == "mappings/b.yaml:6, partitions"
    assert problem.next_step == "make partitions the same in both files: a slice is loaded whole"


def test_column_that_follows_from_its_children_is_mapped_nowhere(problems_of):
    parent = mapping("a") + "  delivery_status: {from: Status}\n"
    child = mapping("b", "a").replace("{table: T}", "{table: U}")
    child += "derive: [{rule: delivery_status, through: a_id, into: delivery_status}]\n"
    (problem,) = problems_of({"a.yaml": parent, "b.yaml": child})
    assert problem.what == '"delivery_status" of "a" follows from its children, but a maps it'
    assert problem.where == "mappings/b.yaml:6, derive[0].into"


def test_environment_overlay_is_merged_word_by_word(project_of):
    overlay = (
        "landing_keep: 7\nsources: {four_d: {retry: {attempts: 5}}}\n"
        "defaults: {group: all, source: {page_size: 100}}\n"
        "entities: {a: {source: {cursor: modified_date}, schedule: {cron: '0 2 * * *'}}}\n"
    )
    project = project_of(
        {"a.yaml": mapping("a", group="mine", schedule="{every: 5m}"), "environments/dev.yaml": overlay}
    )
    loaded = project.get("a")
    assert (project.landing_keep, project.sources["four_d"].options.retry.attempts) == (7, 5)
    assert (loaded.group, loaded.source.page_size, loaded.source.cursor) == ("mine", 100, "modified_date")
    assert (loaded.schedule.cron, loaded.schedule.every) == ("0 2 * * *", None)


def test_overlay_replaces_a_word_of_another_type_as_a_whole(project_of):
    overlay = "entities: {a: {partitions: {type: none}, schedule: null}}\n"
    text = mapping("a", partitions="{type: key_range, buckets: 8}", schedule="{every: 5m}")
    loaded = project_of({"a.yaml": text, "environments/dev.yaml": overlay}).get("a")
    assert (loaded.partitions.type, loaded.schedule) == ("none", None)


def test_problem_from_the_overlay_points_into_the_overlay(problems_of):
    overlay = "defaults:\n  deletes:\n    policy: reprot\n"
    problems = problems_of({"a.yaml": mapping("a"), "b.yaml": mapping("b"), "environments/dev.yaml": overlay})
    assert [p.where for p in problems] == ["mappings/environments/dev.yaml:3, deletes.policy"]


def test_overlay_for_an_entity_that_does_not_exist_is_a_problem(problems_of):
    problems = problems_of({"kunden.yaml": mapping("a"), "environments/dev.yaml": "entities: {kunde: {group: x}}\n"})
    assert str(problems[0]) == (
        '"kunde" is no entity\n'
        "  where: mappings/environments/dev.yaml:1, entities.kunde\n"
        '  next:  did you mean "kunden"? Otherwise choose one of kunden'
    )


def test_overlay_for_an_unknown_source_is_a_problem(problems_of):
    problems = problems_of({"a.yaml": mapping("a"), "environments/dev.yaml": "sources:\n  for_d: {url: x}\n"})
    assert (problems[0].what, problems[0].where) == (
        '"for_d" is no source',
        "mappings/environments/dev.yaml:2, sources.for_d",
    )


def test_unknown_environment_names_the_closest(problems_of):
    files = {"a.yaml": mapping("a"), "environments/production.yaml": "{}\n", "environments/dev.yaml": "{}\n"}
    problem = problems_of(files, environment="prodction")[0]
    assert problem.what == 'there is no environment "prodction"'
    assert problem.where == "environment variable LEGACY_SYNC_ENV, folder mappings/environments"
    assert problem.next_step.startswith('did you mean "production"? Otherwise set it to one of dev, production')


def test_folder_without_environments_is_fine(project_of):
    project = project_of({"a.yaml": mapping("a")}, environment="anything")
    assert (project.environment, project.landing_keep, list(project.sources)) == ("anything", 3, ["four_d"])


def test_fingerprint_changes_with_the_contents_of_a_file(project_of):
    first = project_of({"a.yaml": mapping("a")}).fingerprint
    assert project_of({"a.yaml": mapping("a")}).fingerprint == first
    assert project_of({"a.yaml": mapping("a") + "# comment\n"}).fingerprint != first


def test_version_changes_with_the_meaning_only(project_of):
    plain = project_of({"a.yaml": mapping("a")}).get("a")
    other = project_of({"a.yaml": mapping("a", group="x", max_parked_share="0.1")}).get("a")
    strict = project_of({"a.yaml": mapping("a", adoption="{policy: manual}")}).get("a")
    assert plain.version == other.version != strict.version


def test_durations_and_shorthands_become_values(project_of):
    loaded = project_of({"a.yaml": mapping("a", schedule="{every: 5m}") + "depends_on: []\n"}).get("a")
    assert (loaded.schedule.every, loaded.fields["sku"].from_) == (timedelta(minutes=5), ("Nummer",))
