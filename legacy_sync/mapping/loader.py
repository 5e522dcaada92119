"""Which mappings are in force, and in which order do they run?

Reads every file of the mappings folder and the overlay of the environment, checks them and raises all
problems of all files at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from legacy_sync.errors import EntityUnknown, MappingInvalid, Problem
from legacy_sync.mapping import rephrase
from legacy_sync.mapping.consistency import check_dependencies, check_words
from legacy_sync.mapping.document import Document, ValuePath, merge, read_document
from legacy_sync.mapping.links import find_circle
from legacy_sync.mapping.model import Erp, Mapping, Overlay
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.mapping.source_files import SourceFiles, SourceSpec, check_secrets, with_texts
from legacy_sync.mapping.source_words import secrets_in
from legacy_sync.mapping.suggest import did_you_mean, find_closest, name_all
from legacy_sync.mapping.together import check_together
from legacy_sync.mapping.word import Word
from legacy_sync.settings import Settings

_ENTITY = re.compile(r"[A-Za-z_]\w*(\.\w+)?", re.ASCII)
_DECIDING = ("cursor", "policy", "updated_at", "strategy")
_SUFFIXES = (".yaml", ".yml", ".json")
_Model = TypeVar("_Model", bound=Word)


_PATIENCE = Erp()


@dataclass(frozen=True)
class Project:
    """All enabled mappings of one environment, in the order of the file names, and the sources by name."""

    mappings: dict[str, Mapping]
    sources: dict[str, SourceSpec]
    landing_keep: int
    notifications: Notifications
    environment: str
    files: dict[str, Path]
    fingerprint: str
    erp: Erp = _PATIENCE
    changes_keep_days: int = 400

    def get(self, entity: str) -> Mapping:
        """The mapping of an entity; raises EntityUnknown with the closest name."""
        if entity in self.mappings:
            return self.mappings[entity]
        raise EntityUnknown(
            f'"{entity}" is no entity',
            where=f"mappings of environment {self.environment}",
            next_step=did_you_mean(entity, self.mappings, f"choose one of {name_all(self.mappings)}"),
        )

    def ordered(self, names: Sequence[str] | None = None) -> list[Mapping]:
        """The mappings (all, or the named ones) so that each comes after those it depends on."""
        return [mapping for level in self.levels(names) for mapping in level]

    def levels(self, names: Sequence[str] | None = None) -> list[list[Mapping]]:
        """The same order in groups; the mappings of a group do not depend on each other."""
        wanted = set(self.mappings if names is None else [self.get(name).entity for name in names])
        depths = _depths(dependencies_of(self.mappings))
        levels: list[list[Mapping]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
        for entity, mapping in self.mappings.items():
            if entity in wanted:
                levels[depths[entity]].append(mapping)
        return [level for level in levels if level]

    def unit_of(self, mapping: Mapping) -> list[Mapping]:
        """All mappings that are loaded in one transaction with this one, parents first; mostly itself alone."""
        if mapping.unit is None:
            return [mapping]
        return [m for m in self.ordered() if m.unit and m.unit.name == mapping.unit.name]


def load_project(settings: Settings) -> Project:
    """All mappings of the settings' folder and environment; raises MappingInvalid with every problem."""
    reader = _Reader(settings)
    overlay, overlay_document = reader.read_overlay()
    sources = reader.read_sources(overlay_document)
    notifications = reader.read_notifications(overlay_document)
    documents = reader.read_mappings()
    reader.check_notified(notifications, documents, overlay_document)
    reader.check_entity_names(documents, overlay_document)
    mappings: dict[str, Mapping] = {}
    for entity, document in documents.items():
        mapping = reader.read_mapping(document, _around(entity, overlay_document), entity, documents)
        if mapping and mapping.enabled:
            mappings[entity] = mapping
    reader.check_cycles(mappings)
    reader.check_together(mappings)
    if reader.problems:
        raise MappingInvalid(list(dict.fromkeys(reader.problems)))
    return Project(
        mappings=mappings,
        sources=sources,
        landing_keep=overlay.landing_keep,
        erp=overlay.erp,
        notifications=notifications,
        environment=settings.environment,
        files={entity: reader.files[entity] for entity in mappings},
        fingerprint=reader.fingerprint,
        changes_keep_days=overlay.changes_keep_days,
    )


def load_notifications(settings: Settings) -> tuple[Notifications, list[str]]:
    """What the environment says of notifications, and all entities with a file, even if mappings are broken.

    Where the environment itself is broken, everything is as if it said nothing of notifications.
    """
    reader = _Reader(settings)
    _, overlay = reader.read_overlay()
    notifications = reader.read_notifications(overlay)
    return notifications, [file.stem for file in _config_files(settings.mappings)]


def list_files(folder: Path) -> list[Path]:
    """Every file of a mappings folder that may be read: mappings, environments and sources."""
    return [file for part in (folder, folder / "environments", folder / "sources") for file in _config_files(part)]


def dependencies_of(mappings: dict[str, Mapping]) -> dict[str, tuple[str, ...]]:
    """For each entity the entities that must be loaded before it, as far as they are mapped."""
    by_table: dict[str, list[str]] = {}
    for entity, mapping in mappings.items():
        if mapping.target.rows == "all":  # others bring no rows that anything could refer to
            by_table.setdefault(mapping.target.table, []).append(entity)
    result = {}
    for entity, mapping in mappings.items():
        referenced = [name for table in mapping.referenced_tables for name in by_table.get(table, [])]
        declared = [name for name in mapping.depends_on if name in mappings]
        result[entity] = tuple(dict.fromkeys(name for name in [*referenced, *declared] if name != entity))
    return result


def _by_unit(mappings: dict[str, Mapping], dependencies: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same, with every unit as its first member: what is loaded together waits together."""
    firsts: dict[str, str] = {}
    for entity, mapping in mappings.items():
        if mapping.unit:
            firsts.setdefault(mapping.unit.name, entity)
    meant = {e: firsts[m.unit.name] if m.unit else e for e, m in mappings.items()}
    joined: dict[str, dict[str, None]] = {name: {} for name in meant.values()}
    for entity, before in dependencies.items():
        joined[meant[entity]].update(dict.fromkeys(meant[b] for b in before if meant[b] != meant[entity]))
    return {name: tuple(before) for name, before in joined.items()}


def _depths(dependencies: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """How many loads must come before each entity; the graph has no cycle."""
    depths: dict[str, int] = {}
    while len(depths) < len(dependencies):
        for entity, before in dependencies.items():
            if entity not in depths and all(name in depths for name in before):
                depths[entity] = 1 + max((depths[name] for name in before), default=-1)
    return depths


def _around(entity: str, overlay: Document | None) -> tuple[Document | None, Document | None]:
    """What the overlay says below and above one mapping."""
    if overlay is None:
        return None, None
    return overlay.section(("defaults",)), overlay.section(("entities", entity))


class _Reader:
    """Collects the problems and the contents of all files on the way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.mappings
        self.problems: list[Problem] = []
        self.files: dict[str, Path] = {}
        self._documents: dict[str, Document] = {}
        self._sources = SourceFiles(None)
        self._digest = hashlib.blake2b(digest_size=8)

    @property
    def fingerprint(self) -> str:
        """A hash of everything read so far."""
        return self._digest.hexdigest()

    def read_overlay(self) -> tuple[Overlay, Document | None]:
        """The overlay of the environment; an empty one if there are none at all."""
        files = _config_files(self.folder / "environments")
        by_name = {file.stem: file for file in files}
        name = self.settings.environment
        if not files:
            return Overlay(), None
        if name not in by_name:
            self._report_environment(name, list(by_name))
            return Overlay(), None
        document = self._read(by_name[name])
        if document.problems:
            self.problems += document.problems
            return Overlay(), None
        overlay = self._validated(document, Overlay) or _repaired(document, Overlay)
        self.problems += document.problems
        return (overlay, document) if overlay else (Overlay(), None)

    def read_sources(self, overlay: Document | None) -> dict[str, SourceSpec]:
        """The sources by name; 4D is always one of them."""
        self._sources = SourceFiles(overlay)
        self._sources.read(_config_files(self.folder / "sources"), self._read)
        self.problems += self._sources.problems
        return self._sources.specs

    def read_notifications(self, overlay: Document | None) -> Notifications:
        """Who is told of what; the defaults if nothing is said or something is wrong with it."""
        section = overlay.section(("notifications",)) if overlay else None
        if section is None:
            return Notifications()
        section.data = with_texts(section)
        found = self._validated(section, Notifications)
        if found:
            check_secrets(secrets_in(found), section)
        self.problems += section.problems
        return found or Notifications()

    def check_notified(
        self, notifications: Notifications, documents: dict[str, Document], overlay: Document | None
    ) -> None:
        """Entities that have rules of their own must have a file."""
        for name in sorted(notifications.entities - documents.keys()):
            assert overlay is not None  # it named them
            next_step = did_you_mean(name, documents, f"choose one of {name_all(documents)}")
            self.problems.append(Problem(f'"{name}" is no entity', overlay.where(("notifications",)), next_step))

    def read_mappings(self) -> dict[str, Document]:
        """The documents of all mapping files by entity, in the order of the file names."""
        documents: dict[str, Document] = {}
        for file in _config_files(self.folder):
            document = self._read(file)
            entity = file.stem
            if entity in documents:
                first = documents[entity].places[()].file
                document.report((), f"{entity} is mapped twice; the other file is {first}", "keep one of the two files")
                self.problems += document.problems
                continue
            documents[entity] = document
            self.files[entity] = file
        if not documents:
            next_step = "add a mapping file there, or set LEGACY_SYNC_MAPPINGS to the right folder"
            self.problems.append(Problem("there is no mapping file", self._shown(self.folder), next_step))
        return documents

    def read_mapping(
        self,
        document: Document,
        around: tuple[Document | None, Document | None],
        entity: str,
        entities: Iterable[str],
    ) -> Mapping | None:
        """One checked mapping; None if it has problems, which are then remembered."""
        self.problems += document.problems
        if not document.data:
            return None
        below, above = around
        merged = merge(below or Document({}, {(): document.places[()]}), document)
        merged = merge(merged, above) if above else merged
        merged.places[()] = document.places[()]
        self._check_entity(merged, entity)
        merged.data = {**merged.data, "entity": entity}
        mapping = self._validated(merged, Mapping)
        candidate = mapping or _repaired(merged, Mapping)
        for finding in [*check_words(candidate), *check_dependencies(candidate, entities)] if candidate else ():
            merged.report(rephrase.written_path(finding.path, merged.data), finding.what, finding.next_step)
        if candidate:
            self._sources.check_mapping(candidate, merged)
        known = {problem.where for problem in document.problems}
        self.problems += [problem for problem in merged.problems if problem.where not in known]
        self._documents[entity] = merged
        return mapping

    def check_entity_names(self, documents: dict[str, Document], overlay: Document | None) -> None:
        """Entities of the overlay must have a file."""
        for name in overlay.data.get("entities", {}) if overlay else ():
            if overlay and name not in documents:
                next_step = did_you_mean(name, documents, f"choose one of {name_all(documents)}")
                where = overlay.where(("entities", name))
                self.problems.append(Problem(f'"{name}" is no entity', where, next_step))

    def check_cycles(self, mappings: dict[str, Mapping]) -> None:
        """Entities that wait for each other can never start."""
        dependencies = dependencies_of(mappings)
        cycle = find_circle(dependencies) or find_circle(_by_unit(mappings, dependencies))
        if cycle:
            what = "these entities wait for each other: " + " → ".join(cycle)
            path = _path_of_dependency(mappings[cycle[0]], mappings[cycle[1]])
            where = self._documents[cycle[0]].where(path)
            self.problems.append(Problem(what, where, 'remove one of the references or "depends_on" lines'))
        after = {entity: m.schedule.only_after if m.schedule else () for entity, m in mappings.items()}
        if cycle := find_circle(after):
            what = "the schedules of these entities wait for each other: " + " → ".join(cycle)
            where = self._documents[cycle[0]].where(("schedule", "only_after"))
            self.problems.append(Problem(what, where, 'remove one of the names in "only_after"'))

    def check_together(self, mappings: dict[str, Mapping]) -> None:
        """What two mappings say differently, though they must agree."""
        for entity, (path, what, next_step) in check_together(mappings, complete=not self.problems):
            document = self._documents[entity]
            where = document.where(rephrase.written_path(path, document.data))
            self.problems.append(Problem(what, where, next_step))

    def _read(self, file: Path) -> Document:
        self._digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
        return read_document(file, self._shown(file), self.settings.values)

    def _shown(self, file: Path) -> str:
        return (Path(self.folder.name) / file.relative_to(self.folder)).as_posix()

    def _validated(self, document: Document, model: type[_Model]) -> _Model | None:
        try:
            return model.model_validate(document.data)
        except ValidationError as error:
            for detail in rephrase.without_echoes(error.errors()):
                rephrase.report(detail, document, model)
        return None

    def _check_entity(self, document: Document, entity: str) -> None:
        if not _ENTITY.fullmatch(entity):
            what = f'"{entity}" cannot name an entity'
            document.report((), what, "rename the file after its ERP table: letters, digits, _ and a dot")
        said = document.data.get("entity", entity)
        if said != entity:
            what = f'the entity is "{said}", but the file is named "{entity}"'
            document.report(("entity",), what, f'rename the file, or remove the line: the entity is then "{entity}"')

    def _report_environment(self, name: str, known: list[str]) -> None:
        otherwise = f"set it to one of {name_all(known)}, or add the file environments/{name}.yaml"
        next_step = did_you_mean(name, known, otherwise)
        where = f"environment variable LEGACY_SYNC_ENV, folder {self._shown(self.folder / 'environments')}"
        self.problems.append(Problem(f'there is no environment "{name}"', where, next_step))


def _config_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.suffix in _SUFFIXES and f.is_file() and not f.name.startswith("."))


def _path_of_dependency(mapping: Mapping, before: Mapping) -> ValuePath:
    for name, field in mapping.fields.items():
        if field.reference and field.reference.to == before.target.table:
            return ("fields", name, "reference", "to")
    return ("depends_on",)


def _repaired(document: Document, model: type[_Model]) -> _Model | None:
    """The words as they were probably meant, to find the other problems in the same go; None if unclear."""
    data = deepcopy(document.data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for detail in error.errors():
            _repair(data, detail["loc"], model)
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _repair(data: dict[str, Any], loc: tuple[str | int, ...], root: type[Word]) -> None:
    """A misspelt word becomes the closest known one; a refused option is left out, unless others hang on it."""
    path = rephrase.written_path(loc, data)
    if not path or path[-1] in _DECIDING:
        return
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    if not isinstance(place, dict):
        return
    value = place.pop(path[-1])
    model = rephrase.model_at(root, loc[:-1])
    known = rephrase.words_of(model) if model else []
    meant = find_closest(str(path[-1]), known)
    if path[-1] not in known and meant and meant not in place:
        place[meant] = value
