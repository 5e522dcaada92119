"""What can a source file say (`mappings/sources/<name>.yaml`)? One frozen model per kind of source.

Sources of other packages bring a model of their own, made from `SourceWords`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, model_validator

from legacy_sync.mapping.document import ValuePath
from legacy_sync.mapping.maintenance import Maintenance
from legacy_sync.mapping.model import Names, Values
from legacy_sync.mapping.retry import Retry
from legacy_sync.mapping.word import Word
from legacy_sync.settings import mask_url

FOUR_D = "four_d"
"""The source that mappings mean when they name none."""

_DELIMITERS = {"tab": "\t", "semicolon": ";", "comma": ",", "pipe": "|"}
_RELATIVE = re.compile(r"(?!/)(?!.*(^|/)\.\.(/|$))(?!.*://)[^?#\s]*")


class SourceWords(Word):
    """What every source can say."""

    type: str = Field(description="kind of the source")
    description: str = ""
    watch: bool = Field(
        default=True, description="the change sensor looks at it every tick; false: only schedules start runs"
    )
    maintenance: tuple[Maintenance, ...] = Field(
        default=(), description="times in which sensors and schedules leave the source alone"
    )

    @property
    def table_names(self) -> tuple[str, ...] | None:
        """The tables the file declares; None if only the source itself knows them."""
        return None

    @property
    def address(self) -> str:
        """The place the rows come from, without any secret; rows of two addresses never share a landing."""
        return ""

    def secrets(self) -> Iterator[tuple[ValuePath, str]]:
        """Every secret and its place; such a value has to come from the environment and is shown nowhere."""
        yield from secrets_in(self)


class PatientWords(SourceWords):
    """How patient we are with a server; all times in seconds."""

    connect_timeout_seconds: float = Field(default=10, gt=0)
    timeout_seconds: float = Field(default=30, gt=0, description="longest silence in the middle of an answer")
    retry: Retry = Field(default_factory=Retry, description="how often one request is tried")


class FourDWords(PatientWords):
    """A 4D REST server; address and login come from LEGACY_API_URL, _USER and _PASSWORD unless `url` says else."""

    type: Literal["four_d"] = "four_d"
    url: str | None = Field(default=None, description="address instead of LEGACY_API_URL")
    timeout_seconds: float = Field(default=120, gt=0, description="longest silence in the middle of an answer")
    session_pause_seconds: float = Field(default=60, gt=0, description="pause while no licence is free")
    session_wait_seconds: float = Field(default=900, ge=0, description="how long to wait for a licence")
    ca_file: str | None = Field(default=None, description="certificates to trust, a PEM file")

    @property
    def address(self) -> str:
        """The server."""
        return mask_url(self.url or "")


# --- REST --------------------------------------------------------------------------------------


class BasicAuth(Word):
    """User and password in the header of every request."""

    type: Literal["basic"] = "basic"
    user: SecretStr
    password: SecretStr


class BearerAuth(Word):
    """A token in the Authorization header."""

    type: Literal["bearer"] = "bearer"
    token: SecretStr


class HeaderAuth(Word):
    """A key in a header of its own."""

    type: Literal["header"] = "header"
    name: str = Field(description="name of the header, such as X-Api-Key")
    value: SecretStr


class BodyAuth(Word):
    """A key in the body of every request."""

    type: Literal["body"] = "body"
    name: str = Field(description="word of the body, such as api_key")
    value: SecretStr


class QueryAuth(Word):
    """A key in the address of every request; the worst place, since addresses are logged on the way."""

    type: Literal["query"] = "query"
    name: str = Field(description="parameter, such as api_key")
    value: SecretStr


Auth = Annotated[BasicAuth | BearerAuth | HeaderAuth | BodyAuth | QueryAuth, Field(discriminator="type")]


class NoPaging(Word):
    """One answer has everything."""

    type: Literal["none"] = "none"


class PagePaging(Word):
    """Pages by their number."""

    type: Literal["page"] = "page"
    page: str = Field(default="page", description="parameter with the number of the page")
    size: str = Field(default="page_size", description="parameter with the rows of a page")
    first: int = Field(default=1, description="number of the first page")


class OffsetPaging(Word):
    """Pages by the number of rows before them."""

    type: Literal["offset"] = "offset"
    offset: str = Field(default="offset", description="parameter with the number of rows to leave out")
    limit: str = Field(default="limit", description="parameter with the rows of a page")


class LinkPaging(Word):
    """Every answer has the address of the next one."""

    type: Literal["link"] = "link"
    path: str | None = Field(default=None, description="where the answer has it; without: in its Link header")
    size: str | None = Field(default=None, description="parameter with the rows of a page, for the first request")


class TokenPaging(Word):
    """Every answer has a token that asks for the next one."""

    type: Literal["token"] = "token"
    parameter: str = Field(default="cursor", description="parameter that takes the token")
    path: str = Field(description="where the answer has it, such as meta.next")
    size: str | None = Field(default=None, description="parameter with the rows of a page")


class DayPaging(Word):
    """So many days at a time, by {cursor_from} and {cursor_last}, for services that leave out rows of long spans."""

    type: Literal["days"] = "days"
    size: int = Field(ge=1, description="days in one request")


Paging = Annotated[
    NoPaging | PagePaging | OffsetPaging | LinkPaging | TokenPaging | DayPaging, Field(discriminator="type")
]


def _as_items(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _as_types(value: object) -> object:
    """A list of names is a mapping of names to unknown types."""
    return dict.fromkeys(value, "") if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _as_paths(value: object) -> object:
    """`keep: [base]` is short for `keep: {base: base}`."""
    names = [value] if isinstance(value, str) else value
    return {name: name for name in names} if isinstance(names, list) else names


Columns = Annotated[dict[str, str], BeforeValidator(_as_types, json_schema_input_type=dict[str, str] | list[str])]
"""Attribute names, with their types if they are known."""


class RestTable(Word):
    """One list a service can be asked for."""

    path: str = Field(
        description="behind `url`; {cursor_from}, {cursor_last} and {today} become days, also in params and body"
    )
    method: Literal["GET", "POST"] = Field(default="GET", description="POST only for services that read by POST")
    params: Values = Field(default_factory=dict, description="behind the question mark of the address")
    body: dict[str, Any] = Field(default_factory=dict, description="body of a POST")
    body_format: Literal["json", "form"] = "json"
    records: str = Field(default="", description="where the answer has the rows, such as data.items; blank: all of it")
    pairs: Names = Field(
        default=(), description="names for the keys and the value of nested objects, each way down is a row"
    )
    keep: Annotated[
        dict[str, str], BeforeValidator(_as_paths, json_schema_input_type=dict[str, str] | list[str] | str)
    ] = Field(default_factory=dict, description="values beside the rows that every row gets: attribute and path")
    success: Values = Field(default_factory=dict, description="what a good answer says, such as {success: true}")
    paging: Paging = Field(default_factory=NoPaging)
    page_size: int = Field(default=500, ge=1, le=100_000, description="most rows of a page")
    total: str | None = Field(default=None, description="where the answer has the number of all rows")
    key: Names = Field(default=(), description="attributes that name a row; together they become __KEY")
    columns: Columns = Field(
        default_factory=dict, description="attributes, so that nobody has to ask; dots go into objects"
    )
    cursor_from: date | None = Field(default=None, description="the day {cursor_from} is when everything is wanted")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not _RELATIVE.fullmatch(self.path):
            raise ValueError(f'"{self.path}" is no path behind the url; write it without host, "..", "?" and blanks')
        if self.method == "GET" and self.body:
            raise ValueError("a GET has no body; write `params`, or `method: POST`")
        if self.cursor_from is None and "{cursor_from}" in f"{self.path} {self.params} {self.body}":
            raise ValueError("{cursor_from} has no day when everything is wanted; write `cursor_from`")
        if isinstance(self.paging, DayPaging) and self.cursor_from is None:
            raise ValueError("days have no beginning when everything is wanted; write `cursor_from`")
        return self


class RestWords(PatientWords):
    """A service that answers lists as JSON over HTTP; nothing but its tables is ever asked for."""

    type: Literal["rest"] = "rest"
    watch: bool = Field(default=False, description="true: the change sensor asks the service every tick")
    url: str = Field(description="what all paths begin with")
    auth: Annotated[tuple[Auth, ...], BeforeValidator(_as_items, json_schema_input_type=Auth | list[Auth])] = Field(
        default=(), description="how we say who we are; several at once are possible"
    )
    headers: dict[str, str] = Field(default_factory=dict, description="further headers, nothing secret")
    requests_per_minute: int | None = Field(default=None, ge=1, description="more are never sent")
    pause_seconds: float = Field(default=0, ge=0, description="between two requests")
    ca_file: str | None = Field(default=None, description="certificates to trust, a PEM file")
    tables: dict[str, RestTable] = Field(min_length=1)

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables of the file."""
        return tuple(self.tables)

    @property
    def address(self) -> str:
        """What all paths begin with."""
        return mask_url(self.url)


# --- databases and files -----------------------------------------------------------------------


class DatabaseTable(Word):
    """What the catalog of the database does not say of a table or view."""

    key: Names = Field(default=(), description="columns that name a row, for views and tables without a primary key")


class DatabaseWords(SourceWords):
    """A SQL database, by a URL of SQLAlchemy; it is only read."""

    type: Literal["database"] = "database"
    url: str = Field(repr=False, description="such as postgresql://user:${PASSWORD}@host/name or sqlite:///file.db")
    schema_: str | None = Field(default=None, alias="schema", description="schema of the tables; default: the user's")
    timezone: str = Field(default="UTC", description="zone whose midnight bounds a time stamp with time zone")
    timeout_seconds: float = Field(default=30, gt=0, description="for a connection, or for a lock to go away")
    tables: dict[str, DatabaseTable] = Field(default_factory=dict, description="only what the catalog does not say")

    @property
    def address(self) -> str:
        """The database and the schema."""
        return f"{mask_url(self.url)} {self.schema_ or ''}".strip()

    def secrets(self) -> Iterator[tuple[ValuePath, str]]:
        """The password inside the URL."""
        try:
            password = urlsplit(self.url).password
        except ValueError:
            return
        if password:
            yield ("url",), unquote(password)


def _delimiter(value: object) -> object:
    return _DELIMITERS.get(value, value) if isinstance(value, str) else value


Sign = Annotated[str, Field(min_length=1, max_length=1)]
Delimiter = Annotated[
    Sign,
    BeforeValidator(_delimiter, json_schema_input_type=Literal["tab", "semicolon", "comma", "pipe"] | Sign),
]
Encoding = Literal["utf-8", "utf-16", "windows-1252", "iso-8859-1", "mac_roman", "cp437", "cp850"]


class FilesTable(Word):
    """Which files hold a table, and how they are written."""

    files: str = Field(description="pattern below the folder, such as export/tags_*.txt")
    which: Literal["newest", "all"] = Field(
        default="newest", description="newest: each file has everything; all: every file is a part"
    )
    format: Literal["csv", "json_lines", "json", "excel", "parquet"] = "csv"
    encoding: Encoding | Literal["auto"] = Field(
        default="auto", description="auto: what the first bytes say (BOM), else `fallback_encoding`"
    )
    fallback_encoding: Encoding = "utf-8"
    delimiter: Delimiter = Field(default=",", description="a sign, or its name")
    quoting: bool = Field(default=True, description='false: " is a character like any other (text exports of 4D)')
    line_ends: Literal["auto", "cr", "lf", "crlf"] = Field(
        default="auto", description="said: then the other characters belong to the text"
    )
    header: bool = Field(default=True, description="the first line has the names")
    skip_lines: int = Field(default=0, ge=0, description="lines before the header")
    columns: Columns = Field(default_factory=dict, description="names, where there is no header or to check it")
    blank_is_null: bool = Field(default=True, description="nothing between two delimiters is no value")
    sheet: str | None = Field(default=None, description="sheet of an Excel file; default: the first")
    records: str = Field(default="", description="where a JSON file has the rows, such as data.items")
    key: Names = Field(default=(), description="columns that name a row; together they become __KEY")
    ready_marker: str | None = Field(
        default=None, description="ending of the file that says that one is finished: .ok for data.csv.ok"
    )

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if not self.header and not self.columns:
            raise ValueError("without a header the names are unknown; write `columns`")
        return self


class FilesWords(SourceWords):
    """Files in a folder, or below any fsspec URL such as s3://bucket/export."""

    type: Literal["files"] = "files"
    folder: str
    settle_seconds: float = Field(default=30, ge=0, description="a file that changed later is not finished yet")
    max_file_bytes: int = Field(default=1_000_000_000, ge=1, description="a larger file is not read, nor one unpacked")
    max_rows: int = Field(default=20_000_000, ge=1, description="a file with more rows is not read to its end")
    tables: dict[str, FilesTable] = Field(min_length=1)

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables of the file."""
        return tuple(self.tables)

    @property
    def address(self) -> str:
        """The folder."""
        return mask_url(self.folder)


BUILT_IN: dict[str, type[SourceWords]] = {
    "four_d": FourDWords,
    "rest": RestWords,
    "database": DatabaseWords,
    "files": FilesWords,
}


def secrets_in(value: object, path: ValuePath = ()) -> Iterator[tuple[ValuePath, str]]:
    """Every secret below a value, and its place."""
    match value:
        case SecretStr():
            yield path, value.get_secret_value()
        case BaseModel():
            for name in type(value).model_fields:
                yield from secrets_in(getattr(value, name), (*path, name))
        case dict():
            for key, item in value.items():
                yield from secrets_in(item, (*path, key))
        case list() | tuple():
            for number, item in enumerate(value):
                yield from secrets_in(item, (*path, number))
