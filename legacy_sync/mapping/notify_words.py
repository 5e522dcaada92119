"""What can an environment say of notifications (`notifications:` in `environments/<name>.yaml`)? Frozen models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from legacy_sync.mapping.clock import is_zone
from legacy_sync.mapping.maintenance import Maintenance
from legacy_sync.mapping.model import Duration, Names
from legacy_sync.mapping.word import Word

Kind = Literal["runs", "guards", "sources", "conflicts", "quarantine", "lag", "mappings", "dagster", "unreached"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class Channel(Word):
    """One way to reach people."""

    url: SecretStr = Field(
        description="address as apprise writes it, always a variable: `${NAME:-}`; blank: the channel is off"
    )
    kinds: Annotated[tuple[Kind, ...], BeforeValidator(_as_list)] = Field(
        default=KINDS, min_length=1, description="what it is told of; by default everything"
    )


class Rule(Word):
    """When one kind of situation is told."""

    enabled: bool = Field(default=True, description="false: nobody is told")
    after: Duration = Field(default=timedelta(), description="what is over sooner than this is not told")
    repeat: Duration = Field(default=timedelta(hours=24), description="how long until it is told again")
    urgent: bool = Field(default=True, description="false: it waits for the end of quiet hours")

    @model_validator(mode="after")
    def _repeats_sometimes(self) -> Self:
        if self.repeat < timedelta(minutes=1):
            raise ValueError("`repeat` is at least 1m")
        return self


class RunRule(Rule):
    """When a failed run is told; the pause leaves time for the tries after the first one."""

    after: Duration = Field(default=timedelta(minutes=2), description="what is over sooner than this is not told")
    repeat: Duration = Field(default=timedelta(hours=4), description="how long until it is told again")


class GuardRule(Rule):
    """When a guard that stopped a run is told."""

    repeat: Duration = Field(default=timedelta(hours=4), description="how long until it is told again")


class SourceRule(Rule):
    """When a source, or the ERP database, that does not answer is told."""

    after: Duration = Field(default=timedelta(minutes=5), description="what is over sooner than this is not told")
    repeat: Duration = Field(default=timedelta(hours=4), description="how long until it is told again")


class CountRule(Rule):
    """When rows that wait for a person are told; many of the first minutes only wait for a parent."""

    after: Duration = Field(default=timedelta(minutes=15), description="what is over sooner than this is not told")
    urgent: bool = Field(default=False, description="false: it waits for the end of quiet hours")
    more_than: int = Field(default=0, ge=0, description="fewer or as many per entity are not told")
    entities: dict[str, int] = Field(default_factory=dict, description="other numbers for some entities")
    grows: float = Field(default=2, gt=1, description="told sooner than `repeat` when the number grew by this factor")

    def limit(self, entity: str) -> int:
        """The number that is still normal for an entity."""
        return self.entities.get(entity, self.more_than)


class LagRule(Rule):
    """When an entity that is behind is told."""

    urgent: bool = Field(default=False, description="false: it waits for the end of quiet hours")
    more_than: Duration = Field(
        default=timedelta(hours=26),
        description="older changes are told; never before two ticks of the entity's schedule have passed",
    )
    entities: dict[str, Duration] = Field(default_factory=dict, description="other limits for some entities")

    def limit(self, entity: str) -> timedelta:
        """The age that is still normal for an entity."""
        return self.entities.get(entity, self.more_than)


class EditRule(Rule):
    """When a broken edit of the mapping files is told."""

    after: Duration = Field(default=timedelta(minutes=10), description="what is over sooner than this is not told")
    urgent: bool = Field(default=False, description="false: it waits for the end of quiet hours")


class DagsterRule(Rule):
    """When Dagster itself is told of: runs that fail before they begin, what stands still."""

    after: Duration = Field(default=timedelta(minutes=5), description="what is over sooner than this is not told")
    repeat: Duration = Field(default=timedelta(hours=4), description="how long until it is told again")
    must_run: Names = Field(default=(), description="sensors and schedules that have to be switched on")


class UnreachedRule(Rule):
    """When the other channels are told that one cannot be reached."""

    after: Duration = Field(default=timedelta(minutes=15), description="what is over sooner than this is not told")


class Notifications(Word):
    """Who is told of what, and when."""

    channels: dict[str, Channel] = Field(default_factory=dict, description="ways to reach people, by a name of yours")
    name: str = Field(
        default="", description="stands in front of every subject; by default legacy_sync and environment"
    )
    ui: str = Field(default="", description="address of Dagster's UI, for links")
    timezone: str = Field(default="Europe/Berlin", description="IANA zone of the times in messages")
    pause: Duration = Field(default=timedelta(minutes=5), description="least time between two messages of a channel")
    settle: Duration = Field(default=timedelta(minutes=5), description="how long all has to be right to be called over")
    quiet: tuple[Maintenance, ...] = Field(
        default=(), description="hours in which only what is urgent is told; windows like those of `maintenance`"
    )
    heartbeat: SecretStr = Field(
        default=SecretStr(""),
        description="address that is asked (GET) after every look that went well, for a dead man's switch outside",
    )
    runs: RunRule = Field(default=RunRule(), description="an entity's last run failed")
    guards: GuardRule = Field(default=GuardRule(), description="a guard stopped a run")
    sources: SourceRule = Field(default=SourceRule(), description="a source, or the ERP database, does not answer")
    conflicts: CountRule = Field(default=CountRule(), description="values wait for a decision")
    quarantine: CountRule = Field(default=CountRule(), description="rows are parked")
    lag: LagRule = Field(default=LagRule(), description="changes are not in the ERP for too long")
    mappings: EditRule = Field(default=EditRule(), description="an edit of the mapping files is broken")
    dagster: DagsterRule = Field(
        default=DagsterRule(), description="runs fail before they begin; a sensor, schedule or the daemon stands still"
    )
    unreached: UnreachedRule = Field(default=UnreachedRule(), description="a channel cannot be reached")

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if not is_zone(value):
            raise ValueError(f'"{value}" is no time zone; write an IANA name such as "Europe/Berlin"')
        return value

    @property
    def rules(self) -> Mapping[Kind, Rule]:
        """The rule of each kind."""
        return {kind: getattr(self, kind) for kind in KINDS}

    @property
    def entities(self) -> set[str]:
        """The entities that rules name."""
        return {*self.conflicts.entities, *self.quarantine.entities, *self.lag.entities}
