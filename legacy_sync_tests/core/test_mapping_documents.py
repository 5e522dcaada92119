"""Files that cannot be read as data, and what variables and aliases become."""

import pytest

GOOD = "source: {table: T}\ntarget: {table: A}\nfields:\n  sku: {from: Nummer}\n"


def only(problems):
    assert len(problems) == 1, [str(p) for p in problems]
    return problems[0]


def test_yaml_syntax_error_names_line_and_column(problems_of):
    problem = only(problems_of({"a.yaml": "source: {table: T\ntarget: x\n"}))
    assert problem.what.startswith("YAML syntax error: while parsing a flow mapping expected ',' or '}'")
    assert problem.what.endswith("column 7")
    assert problem.where == "mappings/a.yaml:2"
    assert problem.next_step == "compare indentation, quotes, colons and brackets here and in the line above"


def test_tab_in_yaml_is_named_as_the_cause(problems_of):
    problem = only(problems_of({"a.yaml": "source:\n\ttable: T\n"}))
    assert problem.where == "mappings/a.yaml:2"
    assert problem.next_step == "replace the tab by blanks; YAML indents with blanks only"


def test_json_syntax_error_names_line_and_column(problems_of):
    problem = only(problems_of({"a.json": '{\n  "source": {"table": "T"},\n  "target" {"table": "T"}\n}\n'}))
    assert problem.what == "JSON syntax error: Expecting ':' delimiter, column 12"
    assert problem.where == "mappings/a.json:3"


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n"])
def test_empty_file_is_a_problem(problems_of, content):
    problem = only(problems_of({"a.yaml": content}))
    assert problem.what in ("the file is empty", "the file holds a single value, not a mapping of words")
    assert problem.where == "mappings/a.yaml:1"


def test_empty_json_file_is_a_problem(problems_of):
    problem = only(problems_of({"a.json": " \n"}))
    assert (problem.what, problem.next_step) == ("the file is empty", "write a mapping into it, or delete the file")


def test_list_instead_of_mapping_is_a_problem(problems_of):
    problem = only(problems_of({"a.yaml": "- source\n- target\n"}))
    assert problem.what == "the file holds a list, not a mapping of words"
    assert problem.next_step == 'begin with lines such as "source:"'


def test_file_that_is_not_utf8_names_byte_position_and_line(problems_of):
    problem = only(problems_of({"a.yaml": "description: x\nsource: {table: Straße}\n".encode("cp1252")}))
    assert problem.what == "the file is not UTF-8: byte 0xdf at position 35"
    assert problem.where == "mappings/a.yaml:2"
    assert problem.next_step == "save it as UTF-8 in your editor; it looks like Windows-1252 (Latin-1)"


def test_utf16_file_is_recognised(problems_of):
    problem = only(problems_of({"a.yaml": GOOD.encode("utf-16")}))
    assert problem.next_step == "save it as UTF-8 in your editor; it looks like UTF-16"


def test_utf8_with_byte_order_mark_is_accepted(project_of):
    assert project_of({"a.yaml": GOOD.encode("utf-8-sig")}).get("a").source.table == "T"


def test_key_that_stands_twice_names_both_lines(problems_of):
    problem = only(problems_of({"a.yaml": GOOD + "  sku: {from: Other}\n"}))
    assert problem.what == '"sku" stands here a second time; the first is in line 4'
    assert problem.where == "mappings/a.yaml:5, fields.sku"
    assert problem.next_step == "keep one of the two"


def test_key_that_stands_twice_in_json_is_a_problem(problems_of):
    text = '{"source": {"table": "T"},\n "target": {"table": "A", "table": "B"},\n "fields": {"a": {"from": "X"}}}'
    problem = only(problems_of({"a.json": text}))
    assert problem.where == "mappings/a.json:2, target.table"


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!env"])
def test_tags_are_refused(problems_of, tag):
    problem = only(problems_of({"a.yaml": GOOD + f"description: {tag} x\n"}))
    assert problem.what.endswith("is not allowed")
    assert problem.where == "mappings/a.yaml:5, description"


def test_alias_of_itself_is_refused(problems_of):
    problems = problems_of({"a.yaml": GOOD + "rules: &r [*r]\n"})
    assert problems[0].what == "the value contains itself"
    assert problems[0].where == "mappings/a.yaml:5, rules[0]"


def test_anchor_and_merge_key_are_understood(project_of):
    text = GOOD + "  a: &flag {from: X, default: false}\n  b: {<<: *flag, from: Y}\n"
    field = project_of({"a.yaml": text}).get("a").fields["b"]
    assert (field.from_, field.default) == (("Y",), False)


def test_json_file_with_tabs_and_escapes_is_read(project_of):
    text = '{\n\t"$schema": ".schema/mapping.json",\n\t"source": {"table": "Stra\\u00dfe \\ud83d\\ude00"},\n'
    text += '\t"target": {"table": "A"},\n\t"fields": {"a": {"from":"X"}}\n}\n'
    assert project_of({"a.json": text}).get("a").source.table == "Straße 😀"


def test_variables_are_filled_in_with_defaults_and_escapes(project_of):
    text = "source:\n  table: ${TABLE}\n  page_size: ${PAGE:-250}\ntarget: {table: A}\ndescription: $${literal}\n"
    mapping = project_of({"a.yaml": text + "fields:\n  sku: {from: Nummer}\n"}, TABLE="Artikel").get("a")
    assert (mapping.source.table, mapping.source.page_size) == ("Artikel", 250)
    assert mapping.description == "${literal}"


def test_unquoted_variable_between_braces_gets_a_hint(problems_of):
    problem = only(problems_of({"a.yaml": "source: {table: ${TABLE}}\n"}, TABLE="x"))
    assert problem.next_step == "put the text with ${…} in quotes; between braces it needs them"


def test_unset_variable_without_default_is_a_problem(problems_of):
    problem = only(problems_of({"a.yaml": GOOD + "description: ${LEGACY_TABEL}\n"}, LEGACY_TABLE="x"))
    assert problem.what == "the environment variable LEGACY_TABEL is not set"
    assert problem.where == "mappings/a.yaml:5, description"
    assert problem.next_step.startswith('did you mean "LEGACY_TABLE"? Otherwise set LEGACY_TABEL, or write a default')


def test_variable_without_name_is_a_problem(problems_of):
    problem = only(problems_of({"a.yaml": GOOD + "description: a ${ b\n"}))
    assert problem.what == '"${" names no environment variable'
    assert problem.next_step == 'write ${NAME}, or "$${" for a literal "${"'


def test_problems_of_all_files_are_raised_at_once(problems_of):
    files = {"a.yaml": "- x\n", "b.yaml": "source: [\n", "c.yaml": GOOD + "grup: x\n", "d.yaml": GOOD}
    places = [p.where.split(",")[0] for p in problems_of(files)]
    assert places == ["mappings/a.yaml:1", "mappings/b.yaml:2", "mappings/c.yaml:5"]


def test_unset_variable_does_not_hide_the_next_problem(problems_of):
    text = GOOD.replace("{table: T}", '{table: T, page_size: "${PAGE}"}') + "grup: x\n"
    assert [p.where for p in problems_of({"a.yaml": text})] == [
        "mappings/a.yaml:1, source.page_size",
        "mappings/a.yaml:5, grup",
    ]
