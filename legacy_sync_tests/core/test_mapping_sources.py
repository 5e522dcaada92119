"""Source files: what they may say, who wins, and which mistakes are told with file and line."""

import json

import pytest

from legacy_sync.mapping.source_files import four_d_spec
from legacy_sync.mapping.source_words import FourDWords, SourceWords
from legacy_sync.sources.four_d.client import ClientOptions

MAPPING = "source: {server: books, table: creditors}\ntarget: {table: a}\nfields: {x: {from: X}}\n"
BOOKS = """type: rest
url: https://books.example/api
auth: {type: basic, user: "${BOOKS_USER:-}", password: "${BOOKS_PASSWORD:-}"}
timeout_seconds: 30
tables:
  creditors: {path: creditors, key: id}
"""


def files(books=BOOKS, mapping=MAPPING, **others):
    return {"a.yaml": mapping, "sources/books.yaml": books, **others}


def test_a_named_source_has_checked_options_and_4d_needs_no_file(project_of):
    project = project_of(files())
    assert list(project.sources) == ["four_d", "books"]
    books = project.sources["books"]
    assert (books.kind, books.options.timeout_seconds, books.options.table_names) == ("rest", 30, ("creditors",))
    assert (project.sources["four_d"].kind, project.sources["four_d"].options) == ("four_d", FourDWords())


def test_a_source_may_be_described_in_json(project_of):
    books = json.dumps({"$schema": ".schema/source.json", "type": "database", "url": "sqlite:///x.db"})
    project = project_of({"a.yaml": MAPPING, "sources/books.json": books})
    assert (project.sources["books"].kind, project.sources["books"].options.url) == ("database", "sqlite:///x.db")


def test_the_environment_wins_over_the_file_word_by_word(project_of):
    overlay = "sources: {books: {timeout_seconds: 5, auth: {password: '${OTHER}'}}, four_d: {retry: {attempts: 2}}}\n"
    project = project_of(files(**{"environments/dev.yaml": overlay}), OTHER="o", BOOKS_USER="u")
    books = project.sources["books"].options
    assert (books.timeout_seconds, books.retry.attempts, books.url) == (5, 5, "https://books.example/api")
    (auth,) = books.auth
    assert (auth.user.get_secret_value(), auth.password.get_secret_value()) == ("u", "o")
    assert project.sources["books"].variables == {"auth.user": "BOOKS_USER", "auth.password": "OTHER"}
    assert project.sources["four_d"].options.retry.attempts == 2


def test_the_environment_may_log_in_in_another_way(project_of):
    overlay = "sources: {books: {auth: {type: bearer, token: '${TOKEN}'}}}\n"
    project = project_of(files(**{"environments/dev.yaml": overlay}), TOKEN="t", BOOKS_USER="u", BOOKS_PASSWORD="p")
    (auth,) = project.sources["books"].options.auth
    assert (auth.type, auth.token.get_secret_value()) == ("bearer", "t")
    assert project.sources["books"].variables == {"auth.token": "TOKEN"}
    none = project_of(files(**{"environments/dev.yaml": "sources: {books: {auth: []}}\n"}), BOOKS_USER="u")
    assert none.sources["books"].options.auth == ()


@pytest.mark.parametrize("password", ["0815", "true", "1e3", "null"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_a_value_of_a_variable_stays_the_text_it_is(project_of, password, quote):
    auth = f"auth:\n  type: basic\n  user: u\n  password: {quote}${{BOOKS_PASSWORD}}{quote}\n"
    books = auth.replace("user: u", "user: ${U}") + "\n".join(BOOKS.splitlines()[:2] + BOOKS.splitlines()[3:])
    project = project_of(files(books), BOOKS_PASSWORD=password, U="u")
    assert project.sources["books"].options.auth[0].password.get_secret_value() == password


def test_numbers_come_from_variables_too(project_of):
    project = project_of(files(BOOKS.replace("30", "${SECONDS:-7}")), SECONDS="12")
    assert project.sources["books"].options.timeout_seconds == 12


def test_no_secret_is_shown(project_of):
    project = project_of(files(), BOOKS_PASSWORD="ge:heim", BOOKS_USER="importer")
    assert not {secret for secret in ("ge:heim", "importer") if secret in repr(project)}
    database = "type: database\nurl: postgresql://u:${PW}@h/x\n"
    spec = project_of(files(database), PW="ge:heim").sources["books"]
    assert "ge:heim" not in repr(spec) + spec.options.address
    assert list(spec.options.secrets()) == [(("url",), "ge:heim")]


@pytest.mark.parametrize("url", ["postgresql://u:${PW}@h/x", "${URL}", "${URL:-}"])
def test_a_url_may_be_a_variable_or_hold_one(project_of, url):
    project = project_of(files(f'type: database\nurl: "{url}"\n'), PW="p", URL="postgresql://u:p@h/x")
    assert project.sources["books"].options.url == "postgresql://u:p@h/x"


def test_a_look_that_can_be_repeated_gives_up_soon(project_of):
    hurried = project_of(files()).sources["books"].hurried
    assert (hurried.options.timeout_seconds, hurried.options.retry.attempts) == (5, 1)
    files_words = "type: files\nfolder: /x\ntables: {creditors: {files: '*'}}\n"
    assert project_of(files(files_words)).sources["books"].hurried.options.settle_seconds == 30


def test_options_of_4d_are_those_of_its_client():
    words = {n: v for n, v in FourDWords() if n not in {*SourceWords.model_fields, "url"}}
    assert words == vars(ClientOptions())
    assert four_d_spec(timeout_seconds=3).options.timeout_seconds == 3


def test_a_mapping_that_is_not_enabled_is_as_if_absent(project_of):
    off = MAPPING.replace("table: a}", "table: b}") + "enabled: false\n"
    project = project_of(files(**{"b.yaml": off}))
    assert (list(project.mappings), list(project.files)) == (["a"], ["a"])
    back = project_of(files(**{"b.yaml": off, "environments/dev.yaml": "entities: {b: {enabled: true}}\n"}))
    assert list(back.mappings) == ["a", "b"]


def test_a_mapping_that_is_not_enabled_is_still_checked(problems_of):
    problems = problems_of(files(**{"b.yaml": MAPPING + "enabled: false\ngrup: x\n"}))
    assert [p.where for p in problems] == ["mappings/b.yaml:5, grup"]


REFUSED = {
    "unknown source of a mapping": (
        files(mapping=MAPPING.replace("books", "boks")),
        'there is no source "boks"',
        "mappings/a.yaml:1, source.server",
        'did you mean "books"? Otherwise choose one of four_d, books, or add the file sources/boks.yaml',
    ),
    "unknown table of a source": (
        files(mapping=MAPPING.replace("creditors", "kreditors")),
        'the source "books" has no table "kreditors"',
        "mappings/a.yaml:1, source.table",
        'did you mean "creditors"? Otherwise choose one of creditors, or describe it in mappings/sources/books.yaml',
    ),
    "source of the environment without a file": (
        files(**{"environments/dev.yaml": "sources:\n  book: {timeout_seconds: 1}\n"}),
        '"book" is no source',
        "mappings/environments/dev.yaml:2, sources.book",
        'did you mean "books"? Otherwise choose one of four_d, books, or add the file sources/book.yaml',
    ),
    "unknown kind": (
        files(BOOKS.replace("type: rest", "type: rets")),
        'there is no source of the kind "rets"',
        "mappings/sources/books.yaml:1, type",
        'did you mean "rest"? Otherwise choose one of database, files, four_d, rest, or install the package',
    ),
    "kind missing": (
        files("url: x\n"),
        '"type" is missing',
        "mappings/sources/books.yaml:1",
        'add "type: …" with one of database, files, four_d, rest',
    ),
    "unknown word": (
        files(BOOKS + "timeout: 3\n"),
        'unknown word "timeout"',
        "mappings/sources/books.yaml:7, timeout",
        'did you mean "timeout_seconds"?',
    ),
    "unknown word of a table": (
        files(BOOKS.replace("key: id", "keey: id")),
        'unknown word "keey" in "tables.creditors"',
        "mappings/sources/books.yaml:6, tables.creditors.keey",
        'did you mean "key"?',
    ),
    "unknown way to log in": (
        files(BOOKS.replace("type: basic", "type: digest")),
        'unknown type "digest" of "auth"',
        "mappings/sources/books.yaml:3, auth.type",
        "choose one of basic, bearer, header, body, query",
    ),
    "value of another kind": (
        files(BOOKS.replace("30", "soon")),
        '"timeout_seconds" is the text "soon", but a number is wanted',
        "mappings/sources/books.yaml:4, timeout_seconds",
        "write a number",
    ),
    "path that leaves the service": (
        files(BOOKS.replace("path: creditors", "path: ../admin")),
        '"../admin" is no path behind the url',
        "mappings/sources/books.yaml:6, tables.creditors",
        'write it without host, "..", "?" and blanks',
    ),
    "unknown word of the environment": (
        files(**{"environments/dev.yaml": "sources:\n  books:\n    timeout_secnds: 1\n"}),
        'unknown word "timeout_secnds"',
        "mappings/environments/dev.yaml:3, timeout_secnds",
        'did you mean "timeout_seconds"?',
    ),
    "secret in the file": (
        files(BOOKS.replace('"${BOOKS_PASSWORD:-}"', "ge:heim")),
        'a secret stands in the file: "auth.password"',
        "mappings/sources/books.yaml:3, auth.password",
        "write auth.password: ${NAME} and set NAME",
    ),
    "secret as a default": (
        files(BOOKS.replace("${BOOKS_PASSWORD:-}", "${BOOKS_PASSWORD:-ge:heim}")),
        'a secret stands in the file: "auth.password"',
        "mappings/sources/books.yaml:3, auth.password",
        "write auth.password: ${NAME} and set NAME",
    ),
    "secret inside a url": (
        files("type: database\nurl: postgresql://u:ge%3Aheim@h/x\n"),
        'a secret stands in the file: "url"',
        "mappings/sources/books.yaml:2, url",
        "write url: ${NAME} and set NAME",
    ),
    "secret inside a url as a default": (
        files("type: database\nurl: 'postgresql://u:${PW:-ge:heim}@h/x'\n"),
        'a secret stands in the file: "url"',
        "mappings/sources/books.yaml:2, url",
        "write url: ${NAME} and set NAME",
    ),
    "two files for one source": (
        files(**{"sources/books.json": '{"type": "database", "url": "sqlite://"}'}),
        'the source "books" is described twice',
        "mappings/sources/books.yaml:1",
        "keep one of the two files",
    ),
    "name that is none": (
        {"a.yaml": MAPPING.replace("books", "four_d"), "sources/my books.yaml": BOOKS},
        '"my books" cannot name a source',
        "mappings/sources/my books.yaml:1",
        "rename the file",
    ),
    "4D of another kind": (
        {"a.yaml": MAPPING.replace("books", "four_d"), "sources/four_d.yaml": BOOKS},
        'the source "four_d" is of the kind "rest"',
        "mappings/sources/four_d.yaml:1, type",
        "give the file another name",
    ),
    "environment variable that is not set": (
        files(BOOKS.replace("${BOOKS_USER:-}", "${BOOKS_USER}")),
        "the environment variable BOOKS_USER is not set",
        "mappings/sources/books.yaml:3, auth.user",
        "set BOOKS_USER, or write a default",
    ),
    "file that is no YAML": (
        files("type: rest\n\turl: x\n"),
        "YAML syntax error",
        "mappings/sources/books.yaml:2",
        "replace the tab by blanks",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_told_with_file_line_and_next_step(problems_of, case):
    said, what, where, next_step = REFUSED[case]
    (problem,) = problems_of(said)
    assert problem.what.startswith(what)
    assert problem.where == where
    assert next_step in problem.next_step
    assert "ge:heim" not in str(problem)


def test_a_source_with_mistakes_makes_no_noise_in_its_mappings(problems_of):
    problems = problems_of(files(BOOKS.replace("type: rest", "type: rets")))
    assert len(problems) == 1


def test_a_counter_of_changes_only_where_there_is_one(problems_of):
    mapping = MAPPING + "change_detection: {strategy: global_stamp}\n"
    (problem,) = problems_of(files(mapping=mapping))
    assert problem.what == 'the source "books" is of the kind "rest", which has no counter of its changes'
    assert problem.where == "mappings/a.yaml:4, change_detection.strategy"
    assert problem.next_step == 'choose "timestamp" or "fingerprint"'
