"""What does the server make of an address, and which rows does a filter mean?

The splitter and the grammar are faithful to the point of losing a filter silently where 4D does.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from legacy_sync.demo.four_d_server.collation import NULL, NUMBERS, date_key, fold, number_key, sort_key
from legacy_sync.demo.four_d_server.store import GLOBAL_STAMP, Matches, OrderBy, Table

_CACHED_MATCHES = 16
_BISECTABLE = frozenset({"=", "<", "<=", ">", ">="})
_WORTH_AN_INDEX = 5000  # rows


class Refusal(Exception):
    """A request the server answers with an HTTP status and a list of errors, innermost first."""

    def __init__(self, status: int, *errors: tuple[int, str]) -> None:
        super().__init__(errors[-1][1] if errors else str(status))
        self.status = status
        self.errors = errors


# --- the address ---------------------------------------------------------------------------------


def percent_decode(target: str) -> str:
    """The whole address decoded before it is split; one lone byte of 0x80 and above is Latin-1, more are UTF-8."""

    def decode(match: re.Match[str]) -> str:
        raw = bytes.fromhex(match.group().replace("%", ""))
        return re.sub(rb"[\x80-\xff]+", _high_bytes, raw).decode("utf-8", errors="replace")

    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", decode, target)


def _high_bytes(match: re.Match[bytes]) -> bytes:
    raw = match.group()
    return raw.decode("latin-1").encode() if len(raw) == 1 else raw


def split_query(query: str) -> dict[str, str]:
    """Names and values of a decoded query string.

    Quotes are delimiters and vanish; outside of them `=` turns what stands before it into the name,
    whatever name there was, and `&` ends the pair. There is no escape and `+` stays a plus.
    """
    pairs: dict[str, str] = {}
    name, buffer, quote = "", "", ""
    for character in query:
        if quote:
            if character == quote:
                quote = ""
            else:
                buffer += character
        elif character in "'\"":
            quote = character
        elif character == "=":
            name, buffer = buffer, ""
        elif character == "&":
            pairs[name] = buffer
            name, buffer = "", ""
        else:
            buffer += character
    if quote:
        inner = (1808, "Unclosed '") if quote == "'" else (1809, 'Unclosed "')
        raise Refusal(400, inner, (1806, "The URL is malformed"))
    if name or buffer:
        pairs[name] = buffer
    return pairs


# --- the filter ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """An attribute compared with a sortable text, a pattern of texts or a list of them."""

    attribute: str
    operator: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Negation:
    """NOT(...)."""

    inner: Node


@dataclass(frozen=True)
class Junction:
    """Two conditions joined by and, or, except; chains lean to the left."""

    operator: str
    left: Node
    right: Node


Node = Comparison | Negation | Junction


@dataclass(frozen=True)
class Filter:
    """A parsed filter with the order it may name itself."""

    condition: Node | None = None
    order: OrderBy = ()


_TOKEN = re.compile(
    r"\s*(?:(?P<string>'[^']*'|\"[^\"]*\")|(?P<place>:\d+)|(?P<list>\[[^\]]*\])"
    r"|(?P<symbol>===|!==|==|!=|>=|<=|&&|\|\||[=<>#%&|^(),])|(?P<word>[^\s=<>!#%&|^(),'\":]+))"
)
_JUNCTIONS = {"and": "and", "&": "and", "&&": "and", "or": "or", "|": "or", "||": "or", "except": "except"}
_JUNCTIONS["^"] = "except"
_COMPARATORS = {"=": "=", "==": "=", "===": "is", "!=": "!=", "#": "!=", "!==": "is not", "%": "%"}
_COMPARATORS.update({symbol: symbol for symbol in ("<", "<=", ">", ">=", "begin", "in")})
_INVALID = (1162, "The query is invalid")


def parse_filter(table: Table, text: str, params: str | None) -> Filter:
    """The filter as a tree with its placeholders filled in; every mistake in it is a 500."""
    try:
        values = orjson.loads(params) if params else []
    except orjson.JSONDecodeError as error:
        raise Refusal(500, (1279, "The list of placeholders cannot be read")) from error
    parser = _Parser(table, _tokens(text), values if isinstance(values, list) else [values])
    return parser.whole()


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    place = 0
    stripped = text.rstrip()
    while place < len(stripped):
        match = _TOKEN.match(stripped, place)
        if match is None:
            raise Refusal(500, (1201, f"Unexpected text in the query: {stripped[place:]}"), _INVALID)
        tokens.append((match.lastgroup or "", match.group(match.lastgroup or 0)))
        place = match.end()
    return tokens


@dataclass
class _Parser:
    table: Table
    tokens: list[tuple[str, str]]
    params: Sequence[object]
    place: int = field(default=0)

    def whole(self) -> Filter:
        condition = None if self._at("order") else self._chain()
        order: OrderBy = ()
        if self._at("order"):
            words = [text for _, text in self.tokens[self.place + 2 :]]
            order = parse_order(self.table, " ".join(words), status=500)
        elif self.place < len(self.tokens):
            raise Refusal(500, (1200, f'Unexpected "{self.tokens[self.place][1]}"'), _INVALID)
        return Filter(condition, order)

    def _chain(self) -> Node:
        node = self._term()
        while (operator := _JUNCTIONS.get(self._peek().lower())) is not None:
            self._next()
            node = Junction(operator, node, self._term())
        return node

    def _term(self) -> Node:
        if self._at("not"):
            self._next()
            return Negation(self._term())
        if self._peek() == "(":
            self._next()
            node = self._chain()
            if self._next()[1] != ")":
                raise Refusal(500, (1200, 'Missing ")"'), _INVALID)
            return node
        return self._comparison()

    def _comparison(self) -> Node:
        kind, name = self._next()
        if kind != "word":
            raise Refusal(500, (1200, f'An attribute was expected instead of "{name}"'), _INVALID)
        type_ = attribute_type(self.table, name, status=500)
        if type_ == "bool" and self._peek().lower() in {*_JUNCTIONS, "", ")"}:
            return Comparison(name, "=", (sort_key("bool", True),))
        operator = self._comparator()
        kind, text = self._next()
        if kind == "list" or (operator == "in" and kind == "place"):
            return Comparison(name, "in", self._collection(name, type_, kind, text))
        operand, pattern = self._operand(type_, kind, text)
        if pattern and operator in {"=", "!="}:
            operator = "like" if operator == "=" else "unlike"
        return Comparison(name, {"is": "=", "is not": "!="}.get(operator, operator), (operand,))

    def _comparator(self) -> str:
        text = self._next()[1].lower()
        if text == "is":
            if self._at("not"):
                self._next()
                return "is not"
            return "is"
        if text not in _COMPARATORS:
            raise Refusal(500, (1112, f'"{text}" is a wrong comparison operator'), _INVALID)
        return _COMPARATORS[text]

    def _collection(self, name: str, type_: str, kind: str, text: str) -> tuple[str, ...]:
        found = self._placeholder(text) if kind == "place" else _json_list(text)
        if not isinstance(found, list):
            raise Refusal(500, (1280, f"The placeholder {text} must be a collection"), _INVALID)
        return tuple(_constant_key(type_, value, name) for value in found)

    def _operand(self, type_: str, kind: str, text: str) -> tuple[str, bool]:
        """The sortable text to compare with, and whether it is a pattern with `@`."""
        if kind == "place":
            value = self._placeholder(text)
            if value is None:
                raise Refusal(500, (1279, f"The placeholder {text} is missing or null"), _INVALID)
            return _constant_key(type_, value, text), isinstance(value, str) and "@" in value
        if kind == "string":
            return _constant_key(type_, text[1:-1], text), "@" in text
        if kind != "word":
            raise Refusal(500, (1200, "A value was expected"), _INVALID)
        if text == "null":
            return NULL, False
        return _bare_key(type_, text), "@" in text

    def _placeholder(self, text: str) -> object:
        number = int(text[1:])
        if not 1 <= number <= len(self.params):
            raise Refusal(500, (1279, f"The placeholder {text} is missing or null"), _INVALID)
        return self.params[number - 1]

    def _peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def _at(self, word: str) -> bool:
        return (
            self.place < len(self.tokens)
            and self.tokens[self.place] == ("word", self._peek())
            and (self._peek().lower() == word)
        )

    def _next(self) -> tuple[str, str]:
        if self.place >= len(self.tokens):
            raise Refusal(500, (1200, "The query ends too early"), _INVALID)
        self.place += 1
        return self.tokens[self.place - 1]


def attribute_type(table: Table, name: str, *, status: int) -> str:
    """The catalog type of an attribute one may ask for; envelope fields are none."""
    definition = table.definition.attribute(name)
    if definition is not None and definition.kind in {"storage", "calculated"}:
        return definition.type
    if name == GLOBAL_STAMP and table.tracked:
        return "long64"
    message = f'The "{name}" attribute cannot be found in The "{table.definition.name}" datastore class'
    raise Refusal(status, (1500, message), *([_INVALID] if status == 500 else []))


def _json_list(text: str) -> object:
    try:
        return orjson.loads(text.replace("'", '"'))
    except orjson.JSONDecodeError as error:
        raise Refusal(500, (1201, f"The list {text} cannot be read"), _INVALID) from error


def _constant_key(type_: str, value: object, shown: str) -> str:
    wrong = Refusal(500, (1280, f'The value "{shown}" has the wrong type for {type_}'), _INVALID)
    if type_ == "date":
        key = date_key(value) if isinstance(value, str) else None
        if key is None:
            raise wrong
        return key
    if type_ == "bool":
        if value not in (True, False, "true", "false"):
            raise wrong
        return sort_key("bool", value in (True, "true"))
    if type_ in NUMBERS:
        try:
            return number_key(float(str(value)))
        except ValueError as error:
            raise wrong from error
    if isinstance(value, (bool, list, dict)):
        raise wrong
    return "2" + fold(str(value))


def _bare_key(type_: str, text: str) -> str:
    """A constant without quotes: fine for texts and numbers, never for dates, `true` only for Booleans."""
    if type_ == "date" or (type_ not in {"bool", *NUMBERS} and text in {"true", "false"}):
        raise Refusal(500, (1200, f'The constant "{text}" cannot be used for {type_}'), _INVALID)
    return _constant_key(type_, text, text)


def parse_order(table: Table, text: str, *, status: int = 404) -> OrderBy:
    """`lastName desc, firstName` as pairs of attribute and whether it descends."""
    order: list[tuple[str, bool]] = []
    for part in text.split(","):
        words = part.split()
        try:
            if not words or len(words) > 2 or (len(words) == 2 and words[1].lower() not in {"asc", "desc"}):
                raise Refusal(status)
            attribute_type(table, words[0], status=status)
        except Refusal as refusal:
            raise Refusal(status, *refusal.errors, (1810, f'The order by "{text}" is invalid')) from refusal
        order.append((words[0], len(words) == 2 and words[1].lower() == "desc"))
    return tuple(order)


# --- the selection -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Selection:
    """A filtered, ordered part of a table: `slots[start:stop]`, so that taking a page of it costs only the page."""

    slots: list[int]
    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def page(self, skip: int, top: int) -> list[int]:
        """At most `top` slots after the first `skip`; a negative `top` means all the rest."""
        begin = self.start + max(0, skip)
        end = self.stop if top < 0 else min(self.stop, begin + top)
        return self.slots[begin:end]


def select(table: Table, condition: Node | None, order: OrderBy) -> Selection:
    """The rows a condition means, in order.

    Conditions on the leading order attribute are found by bisection; what remains of the filter is
    evaluated once and remembered until the table changes. Paging by key therefore costs the page.
    """
    leading = order[0][0] if order and not order[0][1] else None
    bounds, rest = _bounds_on(leading, _conjuncts(condition))
    matches = _matching(table, rest, order)
    return Selection(matches.slots, *_intersect(matches, bounds))


def restrict(table: Table, slots: Sequence[int], condition: Node | None, order: OrderBy) -> list[int]:
    """Rows of an entity set that (still) match, sorted anew if asked; deleted rows never match."""
    found = list(slots)
    if condition is not None:
        holds = _predicate(table, condition)
        found = [s for s in found if table.payloads[s] is not None and holds(s)]
    for attribute, descending in reversed(order):
        found.sort(key=table.column(attribute).__getitem__, reverse=descending)
    return found


def _conjuncts(node: Node | None) -> list[Node]:
    if node is None:
        return []
    if isinstance(node, Junction) and node.operator == "and":
        return [*_conjuncts(node.left), *_conjuncts(node.right)]
    return [node]


def _matching(table: Table, rest: tuple[Node, ...], order: OrderBy) -> Matches:
    known = table.matches.get((rest, order))
    if known is not None and known.version == table.version:
        return known
    slots, left = _candidates(table, rest, order)
    for node in left:
        holds = _predicate(table, node)
        slots = [s for s in slots if holds(s)]
    keys = list(map(table.column(order[0][0]).__getitem__, slots)) if order else []
    if len(table.matches) >= _CACHED_MATCHES:
        del table.matches[next(iter(table.matches))]
    table.matches[(rest, order)] = found = Matches(table.version, slots, keys)
    return found


def _candidates(table: Table, rest: tuple[Node, ...], order: OrderBy) -> tuple[list[int], tuple[Node, ...]]:
    """Rows worth testing, in order, and the conditions left to test on them.

    A narrow range of another attribute is taken from the order of that attribute and sorted anew, so
    that a month of a table of millions costs the month.
    """
    leading = next((n.attribute for n in rest if isinstance(n, Comparison) and n.operator in _BISECTABLE), None)
    if leading is None or not order or len(table) < _WORTH_AN_INDEX:
        return table.order(order), rest
    bounds, left = _bounds_on(leading, rest)
    index = _matching(table, (), ((leading, False),))
    start, stop = _intersect(index, bounds)
    if stop - start > len(table) // 4:
        return table.order(order), rest
    slots = sorted(index.slots[start:stop])
    for attribute, descending in reversed(order):
        slots.sort(key=table.column(attribute).__getitem__, reverse=descending)
    return slots, left


def _bounds_on(attribute: str | None, nodes: Sequence[Node]) -> tuple[list[Comparison], tuple[Node, ...]]:
    """The comparisons of one attribute that bisection can answer, and all other conditions."""
    bounds: list[Comparison] = []
    rest: list[Node] = []
    for node in nodes:
        if isinstance(node, Comparison) and node.operator in _BISECTABLE and node.attribute == attribute:
            bounds.append(node)
        else:
            rest.append(node)
    return bounds, tuple(rest)


def _intersect(matches: Matches, bounds: Sequence[Comparison]) -> tuple[int, int]:
    start, stop = 0, len(matches.slots)
    for comparison in bounds:
        low, high = _range(matches.keys, comparison)
        start, stop = max(start, low), min(stop, high)
    return start, max(start, stop)


def _range(keys: list[str], comparison: Comparison) -> tuple[int, int]:
    operand = comparison.operands[0]
    first, last = bisect_left(keys, operand), bisect_right(keys, operand)
    if comparison.operator == "=":
        return first, last
    lowest, highest = bisect_left(keys, operand[0]), bisect_left(keys, chr(ord(operand[0]) + 1))
    return {"<": (lowest, first), "<=": (lowest, last), ">": (last, highest), ">=": (first, highest)}[
        comparison.operator
    ]


def _predicate(table: Table, node: Node) -> Callable[[int], bool]:
    if isinstance(node, Negation):
        inner = _predicate(table, node.inner)
        return lambda slot: not inner(slot)
    if isinstance(node, Junction):
        left, right = _predicate(table, node.left), _predicate(table, node.right)
        if node.operator == "and":
            return lambda slot: left(slot) and right(slot)
        if node.operator == "or":
            return lambda slot: left(slot) or right(slot)
        return lambda slot: left(slot) and not right(slot)
    return _compare(table.column(node.attribute), node)


def _compare(column: list[str], node: Comparison) -> Callable[[int], bool]:
    operator, operand = node.operator, node.operands[0] if node.operands else NULL
    if operator == "in":
        wanted = frozenset(node.operands)
        return lambda slot: column[slot] in wanted
    if operator in {"like", "unlike", "begin", "%"}:
        return _match_text(column, operator, operand)
    if operator == "=":
        return lambda slot: column[slot] == operand
    if operator == "!=":
        return lambda slot: column[slot] != operand
    rank, after = operand[0], chr(ord(operand[0]) + 1)
    if operator == "<":
        return lambda slot: rank <= column[slot] < operand
    if operator == "<=":
        return lambda slot: rank <= column[slot] <= operand
    if operator == ">":
        return lambda slot: operand < column[slot] < after
    return lambda slot: operand <= column[slot] < after


def _match_text(column: list[str], operator: str, operand: str) -> Callable[[int], bool]:
    text = operand[1:]
    if operator == "begin":
        return lambda slot: column[slot].startswith("2" + text)
    if operator == "%":
        word = re.compile(rf"2(.*\W)?{re.escape(text.strip('@'))}(\W.*)?", re.DOTALL)
        return lambda slot: word.fullmatch(column[slot]) is not None
    pattern = re.compile("2" + ".*".join(re.escape(part) for part in text.split("@")), re.DOTALL)
    negative = operator == "unlike"
    return lambda slot: (pattern.fullmatch(column[slot]) is not None) != negative
