"""How does an edited mapping take effect without a restart? A sensor compares the files with what is loaded.

It runs in the code server. Files that load make it ask that server to load itself anew: the web server and the daemon
notice within seconds, runs under way go on with what they began with. Files that do not load change nothing.
"""

import logging
import threading
import time
from dataclasses import dataclass

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import CodeLocationOrigin, GrpcServerCodeLocationOrigin

from legacy_sync.mapping.loader import list_files
from legacy_sync.orchestration.kept import BROKEN, Kept, Version, check, name_of, read_files, say_in_force
from legacy_sync.settings import Settings

logger = logging.getLogger(__name__)

NAME = "mappings_watch"
EVERY_SECONDS = 5
_SETTLED_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 60.0

Signature = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Look:
    """What the files say against what is loaded: nothing new, a newer version, or why they cannot be used."""

    text: str
    newer: Version | None = None


class Watch:
    """Compares cheaply: files are read only when one was touched, and checked only when a content is new."""

    def __init__(self, settings: Settings, in_force: Version) -> None:
        self._settings = settings
        self._in_force = in_force
        self._kept = Kept(settings)
        self._seen: Signature | None = None
        self._last = Look("")
        self._asked_at = 0.0
        self._asked = 0

    def look(self, now: float) -> Look:
        """What is in the folder now."""
        try:
            seen = self._signature()
            if seen == self._seen:
                return self._last
            youngest = max((file[1] for file in seen), default=0) / 1e9
            if 0 <= now - youngest < _SETTLED_SECONDS:
                return Look("a file was saved this moment: the next look decides")
            look = self._compare()
        except FileNotFoundError as error:  # an editor renames what it saves
            return Look(f"a file went away while it was read: the next look decides ({error.filename})")
        except BROKEN as error:
            look = Look(f"{error}\n{say_in_force(self._in_force)}")
            logger.warning("%s", look.text)
        self._seen, self._last, self._asked_at, self._asked = seen, look, 0.0, 0
        return look

    def may_ask(self, now: float) -> int:
        """How often the code server was asked for this version, this time included; 0 if it needs more time."""
        if now - self._asked_at < _ASK_AGAIN_SECONDS:
            return 0
        self._asked_at = now
        self._asked += 1
        return self._asked

    def _signature(self) -> Signature:
        found = ((file, file.stat()) for file in list_files(self._settings.mappings))
        return tuple((str(file), stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for file, stat in found)

    def _compare(self) -> Look:
        files = read_files(self._settings)
        if name_of(files) == self._in_force.name:
            return Look("the mappings in force are those of the files")
        version = self._kept.keep(files)
        if not self._kept.is_newest(version):
            check(version)
            self._kept.confirm(version)
        return Look(f"the edited mappings can be loaded ({version.name})", version)


def build_mappings_watch(settings: Settings, in_force: Version) -> dg.SensorDefinition:
    """The sensor `mappings_watch`, running at first."""
    watch = Watch(settings, in_force)

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads edited mappings, environments and sources without a restart; broken ones change nothing.",
    )
    def mappings_watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = time.time()
        look = watch.look(now)
        if look.newer is None:
            return dg.SkipReason(look.text)
        return dg.SkipReason(f"{look.text}; {_ask(watch, context.code_location_origin, context.instance, now)}")

    return mappings_watch


def _ask(watch: Watch, origin: CodeLocationOrigin | None, instance: dg.DagsterInstance, now: float) -> str:
    """Has the code server load itself anew, and says so; the answer comes after this tick has ended."""
    if not isinstance(origin, GrpcServerCodeLocationOrigin):
        return (
            "the daemon, which has a code server of its own, uses them within a minute;"
            " in the UI press Reload on the page Deployment, or start one code server for both (README, Production)"
        )
    times = watch.may_ask(now)
    if not times:
        return "the code server is loading them"
    threading.Thread(target=_reload, args=(origin, instance.code_server_reload_timeout), daemon=True).start()
    if times == 1:
        return "the code server was asked to load them"
    return (
        f"the code server was asked {times} times to load them and has not:"
        " read its log; it must be started as `dagster code-server start`"
    )


def _reload(origin: GrpcServerCodeLocationOrigin, timeout: int) -> None:
    try:
        origin.create_client().reload_code(timeout=timeout)
    except DagsterUserCodeUnreachableError as error:
        logger.warning("the code server did not load the edited mappings: %s", error)
