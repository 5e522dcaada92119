"""Which words does the mapping language have? The tables at the end of docs/mappings.md, made from the models.

`python -m legacy_sync.mapping.reference docs/mappings.md` writes them between the two marks of that file.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from datetime import time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from legacy_sync.mapping.model import Mapping, Overlay
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.mapping.notify_words import Rule as NotifyRule
from legacy_sync.mapping.word import Word
from legacy_sync.pyerp import DERIVED, ERP_RULES, RULES, Rule

BEGIN, END = "<!-- generated -->", "<!-- end -->"
_SCALAR = (str, int, float, bool, type(None))
_NAMES = {str: "text", bool: "true or false", int: "whole number", float: "number", timedelta: "duration, such as 5m"}
_NAMES |= {SecretStr: "a variable, such as `${NAME:-}`", time: "time of day, such as 22:00"}
_NAMES |= {Any: "anything", type(None): "null"}


def render_reference() -> str:
    """The whole generated part: the words of a mapping, the casts, the words of an environment, pyERP's rules."""
    models = list(_models_below(Mapping))
    casts = [model for model in models if _group(model) == "cast"]
    words = [model for model in models if model not in casts]
    parts = [
        "### Words of a mapping",
        *map(_section, words),
        "### Casts",
        "A cast with nothing to say is its name alone: `cast: date`. A list is a chain: `cast: [text, slug]`.",
        *map(_section, casts),
        "### Words of an environment",
        *map(_section, [model for model in _models_below(Overlay) if model not in models]),
        "### Rules of pyERP",
        _rules(),
    ]
    return "\n\n".join(parts)


def render_notifications() -> str:
    """The words of `notifications`, and of what stands in them."""
    models: list[type[Word]] = [*_models_below(Notifications), NotifyRule]
    return "\n\n".join(_section(model) for model in models)


def replace_generated(text: str, render: Callable[[], str] = render_reference) -> str:
    """The text of the guide with the generated part as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{render()}\n\n{END}{after}"


# --- models ------------------------------------------------------------------------------------


def _models_below(model: type[Word]) -> Iterator[type[Word]]:
    """The model and all that its words may hold, each once, in the order in which they are met."""
    waiting, seen = [model], set()
    while waiting:
        model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        model.model_rebuild()
        yield model
        for field in model.model_fields.values():
            waiting += _models_in(field.annotation)


def _models_in(kind: object) -> list[type[Word]]:
    if isinstance(kind, type) and issubclass(kind, Word):
        return [kind]
    return [model for inner in get_args(kind) for model in _models_in(inner)]


def _group(model: type[Word]) -> str:
    """The last part of the name of models that are told apart by `type`: cast or partitions."""
    return re.findall("[A-Z][a-z]+", model.__name__)[-1].lower() if "type" in model.model_fields else ""


def _title(model: type[Word]) -> str:
    """Such as `Source`, or `cast text`."""
    return f"{_group(model)} {model.model_fields['type'].default}" if _group(model) else model.__name__


def _section(model: type[Word]) -> str:
    base = model.__bases__[0]
    shared = base if issubclass(base, Word) and base is not Word and not _group(model) else None
    rows = [_row(name, field) for name, field in model.model_fields.items() if _is_own(name, model, shared)]
    parts = [f"#### {_title(model)}", " ".join((model.__doc__ or "").split())]
    parts += [f"All words of {_link(shared)}, and:" if rows else f"All words of {_link(shared)}."] if shared else []
    parts += [_table(("word", "type", "default", "meaning"), rows)] if rows else []
    return "\n\n".join(parts)


def _is_own(name: str, model: type[Word], shared: type[Word] | None) -> bool:
    """`entity` is the name of the file, `type` stands in the title; a word said anew has another default."""
    return name not in ("entity", "type") and (shared is None or name in model.__annotations__)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    return (f"`{field.alias or name}`", _kind(field.annotation), _default(field), field.description or "")


# --- types and defaults ------------------------------------------------------------------------


def _kind(kind: Any) -> str:
    """A type in the words of a reader; models are links to their table."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return _union(inner)
    if origin is tuple:
        return "text, or a list" if inner[0] is str else _list_of(inner[0])
    if origin is dict:
        return f"by name: {_kind(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, Word):
        return _link(kind)
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def _union(kinds: tuple[Any, ...]) -> str:
    if set(kinds) == set(_SCALAR):
        return "single value or null"
    models = [model for kind in kinds for model in _models_in(kind)]
    if models and _group(models[0]) == "cast":
        return "[cast](#casts)"
    return " or ".join(_kind(kind) for kind in kinds if kind is not type(None))


def _list_of(kind: Any) -> str:
    said = _kind(kind)
    return f"{said}, or a list" if said.startswith("[cast]") else f"list of {said}"


def _link(model: type[Word]) -> str:
    title = _title(model)
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _shortest(value: timedelta) -> str:
    """A duration in its largest whole unit."""
    units = (
        ("d", timedelta(days=1)),
        ("h", timedelta(hours=1)),
        ("m", timedelta(minutes=1)),
        ("s", timedelta(seconds=1)),
    )
    return next((f"{value // unit}{name}" for name, unit in units if not value % unit), f"{value}")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be said"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, Word | SecretStr) or value in ((), {}):
        return ""
    if isinstance(value, timedelta):
        return f"`{_shortest(value)}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`" if not isinstance(value, str) or not value else f"`{value}`"


# --- rules of pyERP ----------------------------------------------------------------------------


def _rules() -> str:
    rows = [(f"`{name}`", _listed(rule.inputs), _options(rule), _meaning(name, rule)) for name, rule in RULES.items()]
    return "\n\n".join(
        [
            "For `compute`; an input that is not given is null, an option that is not given as shown:",
            _table(("rule", "inputs", "options", "result"), rows),
            f"For `erp_rule`: {_listed(ERP_RULES)} (`legacy_sync/pyerp/receipts.py`).",
            f"For `derive`: {_listed(DERIVED)} (`legacy_sync/pyerp/derived.py`).",
        ]
    )


def _options(rule: Rule) -> str:
    return ", ".join(f"`{name}` ({value})" for name, value in rule.options.items())


def _meaning(name: str, rule: Rule) -> str:
    """The first docstring line of the function that bears the rule's name, else of the one that is called."""
    called = _innermost(rule.function)
    function = getattr(sys.modules[called.__module__], name, called)
    return (function.__doc__ or "").partition("\n")[0]


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a partial calls in the end; a function given to it says more than the one that takes it."""
    while isinstance(function, partial):
        function = next((argument for argument in function.args if callable(argument)), function.func)
    return function


# --- text --------------------------------------------------------------------------------------


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    guide = Path(sys.argv[1])
    chosen = render_notifications if guide.stem == "notifications" else render_reference
    guide.write_text(replace_generated(guide.read_text(encoding="utf-8"), chosen), encoding="utf-8")
