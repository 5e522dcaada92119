"""What does a refused value mean for the person who wrote the mapping?

pydantic says which value of which word it refuses; here that becomes a fact and a next step in plain words.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from legacy_sync.mapping.document import Document, ValuePath, dotted
from legacy_sync.mapping.suggest import did_you_mean, name_all

_WANTED = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a day such as 2024-01-31",
    "dict": "a mapping of words",
    "model": "a mapping of words",
    "model_attributes": "a mapping of words",
    "list": "a list",
    "tuple": "a list",
    "time": "a duration such as 5m or 1d",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def written_path(loc: tuple[str | int, ...], data: object) -> ValuePath:
    """The part of pydantic's location that stands in the file; names of chosen types drop out."""
    path: list[str | int] = []
    for key in loc:
        in_list = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if in_list or (isinstance(data, dict) and key in data):
            data = data[key]  # type: ignore[index]
            path.append(key)
    return tuple(path)


def without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors, but for lists that are only called empty because their entries were refused."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short" or not any(p[: len(error["loc"])] == error["loc"] != p for p in places)
    ]


def report(error: ErrorDetails, document: Document, root: type[BaseModel]) -> None:
    """Add the problem behind one pydantic error to the document."""
    loc = error["loc"]
    path = written_path(loc, document.data)
    kind = error["type"]
    if kind == "extra_forbidden":
        what, next_step = _unknown_word(loc, path, root)
    elif kind == "missing":
        what, next_step = _missing_word(loc, path)
    elif kind.startswith("union_tag") or (kind == "model_attributes_type" and len(_tags_at(root, loc)) > 1):
        path, what, next_step = _type_of_word(error, path, document, root)
    else:
        what, next_step = _refused_value(error, path)
        model = model_at(root, loc)
        if model and next_step == f"write {_WANTED['model']}":
            next_step = f"write a mapping of {name_all(words_of(model))}"
    document.report(path, what, next_step)


def words_of(model: type[BaseModel]) -> list[str]:
    """The words a mapping file may use in this place."""
    return [info.alias or name for name, info in model.model_fields.items()]


def model_at(root: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that describes the place `loc`; None where any key may stand."""
    return next((kind for kind in _kinds_at(root, loc) if _is_model(kind)), None)


def _kinds_at(root: type[BaseModel], loc: tuple[str | int, ...]) -> list[Any]:
    current: list[Any] = [root]
    for key in loc:
        current = [below for kind in current for below in _below(kind, key)]
    return current


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _below(kind: object, key: str | int) -> Iterator[Any]:
    for option in _options(kind):
        if _is_model(option):
            if _tag_of(option) == key:
                yield option
            for name, info in option.model_fields.items():
                if key in (name, info.alias):
                    yield from _options(info.annotation)
        elif get_origin(option) is dict:
            yield from _options(get_args(option)[1])
        elif get_origin(option) in (tuple, list) and isinstance(key, int):
            yield from _options(get_args(option)[0])


def _options(kind: object) -> Iterator[Any]:
    """The alternatives of a type, without the wrapping of Annotated and Optional."""
    if get_origin(kind) is Annotated:
        yield from _options(get_args(kind)[0])
    elif get_origin(kind) in (UnionType, Union):
        for option in get_args(kind):
            yield from _options(option)
    else:
        yield kind


def _tag_of(model: type[BaseModel]) -> object:
    info = model.model_fields.get("type")
    return get_args(info.annotation)[0] if info and get_origin(info.annotation) is Literal else None


def _unknown_word(loc: tuple[str | int, ...], path: ValuePath, root: type[BaseModel]) -> tuple[str, str]:
    word = str(loc[-1])
    model = model_at(root, loc[:-1])
    known = words_of(model) if model else []
    place = dotted(path[:-1])
    what = f'unknown word "{word}"' + (f' in "{place}"' if place else "")
    return what, did_you_mean(word, known, f"remove it; known here: {name_all(known)}")


def _missing_word(loc: tuple[str | int, ...], path: ValuePath) -> tuple[str, str]:
    word, place = str(loc[-1]), dotted(path)
    what = f'"{word}" is missing' + (f' in "{place}"' if place else "")
    return what, f'add "{word}: …"' + (f' below "{place}"' if place else "")


def _type_of_word(
    error: ErrorDetails, path: ValuePath, document: Document, root: type[BaseModel]
) -> tuple[ValuePath, str, str]:
    value = error["input"]
    known = _tags_at(root, error["loc"])
    place = next((key for key in reversed(path) if isinstance(key, str)), "")
    otherwise = f"choose one of {name_all(known)}"
    if not isinstance(value, dict):
        return path, f'"{place}" is {_kind_of(value)}, but a mapping with a type is wanted', otherwise
    if "type" not in value:
        return path, f'"type" is missing in "{dotted(path)}"', otherwise
    tag = str(value["type"])
    inner = written_path((*path, "type"), document.data)
    return inner, f'unknown type "{tag}" of "{place}"', did_you_mean(tag, known, otherwise)


def _tags_at(root: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    return [str(_tag_of(kind)) for kind in _kinds_at(root, loc) if _is_model(kind)]


def _refused_value(error: ErrorDetails, path: ValuePath) -> tuple[str, str]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    word = dotted(path[-1:]) if path and isinstance(path[-1], str) else dotted(path)
    if kind == "value_error":
        return _own_words(str(context.get("error", error["msg"])), word)
    if kind == "literal_error":
        known = [name.strip().strip("'") for name in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f'{_quoted(value)} is no value of "{word}"', did_you_mean(
            str(value), known, f"choose one of {name_all(known)}"
        )
    if kind == "too_short":
        return f'"{word}" is empty', "write at least one entry"
    if kind in _BOUNDS:
        phrase, bound = _BOUNDS[kind]
        limit = f"{phrase} {context[bound]:g}"
        return f'"{word}" is {value}, but must be {limit}', f"write a number that is {limit}"
    if kind.startswith("model") and path[:-1] == ("fields",) and isinstance(value, str):
        return f'"{word}" is {_kind_of(value)}, but a mapping of words is wanted', f'write "{word}: {{from: {value}}}"'
    return _wrong_type(kind, value, word)


def _own_words(message: str, word: str) -> tuple[str, str]:
    """Errors raised by the model itself already say fact and remedy, parted by a semicolon."""
    fact, _, remedy = message.partition("; ")
    if fact.startswith("needs "):
        return f'"{word}" {fact}', remedy or "keep or add the one that is meant"
    return fact, remedy or "correct the value"


def _wrong_type(kind: str, value: object, word: str) -> tuple[str, str]:
    wanted = next((text for prefix, text in _WANTED.items() if kind.startswith(prefix)), "another kind of value")
    if wanted == "a text" and isinstance(value, bool | int | float):
        shown = str(value).lower() if isinstance(value, bool) else value
        return f'"{word}" is {_kind_of(value)}, but {wanted} is wanted', f'put it in quotes: "{shown}"'
    return f'"{word}" is {_kind_of(value)}, but {wanted} is wanted', f"write {wanted}"


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the text "{value}"'
        case dict():
            return "a mapping of words"
        case _:
            return "a list"


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else _kind_of(value)
