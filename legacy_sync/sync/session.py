"""What does a load do when PostgreSQL cannot go on? It does the same part again, as a whole, and guesses nothing.

A part of a load is one transaction. After a deadlock, a lock that was not granted, a serialisation failure or a
lost connection it is rolled back, and tried again after a pause. If the connection was lost while committing, the
ledger says whether the part is in: each transaction writes its number into its run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, Protocol, TypeVar

import psycopg
import tenacity

from legacy_sync.erp.database import is_lost, may_pass, translated
from legacy_sync.erp.holders import end_session, read_birth
from legacy_sync.errors import ErpUnavailable
from legacy_sync.ledger import runs
from legacy_sync.mapping.retry import Retry
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Reporter(Protocol):
    """What reports of the work in a session, and can take back what it reported; a Loader."""

    report: RunReport

    def state(self) -> Any:
        """What was reported so far."""

    def go_back(self, state: Any) -> None:
        """Forgets what was reported since."""


class Session:
    """One connection to the ERP database with the locks of what is loaded; made anew when it is lost.

    A plan runs in a transaction that is rolled back, perhaps `within` one of its caller; nothing of it is tried again.
    """

    def __init__(
        self,
        workspace: Workspace,
        stack: ExitStack,
        retry: Retry,
        *,
        is_plan: bool = False,
        within: psycopg.Connection | None = None,
    ) -> None:
        self.reporters: list[Reporter] = []
        self._workspace = workspace
        self._stack = stack
        self._retry = retry
        self._is_plan = is_plan
        self._is_inside = False
        self._locks: list[tuple[int, str]] = []
        self.connection = within or stack.enter_context(workspace.erp())
        self._birth = read_birth(self.connection)
        if is_plan and within is None:
            stack.enter_context(self.connection.transaction(force_rollback=True))

    def lock(self, entity_id: int, entity: str) -> None:
        """Excludes other loads of the entity until the end; raises EntityBusy."""
        self._stack.enter_context(runs.entity_lock(self.connection, entity_id, entity))
        self._locks.append((entity_id, entity))

    def whole(self, where: str, work: Callable[[], T]) -> T:
        """Does the work in one transaction, again if need be; inside another it is a part of that.

        Work that is called again must do the same again; what was reported of it is taken back before.
        """
        if self._is_inside or self._is_plan:
            with self.connection.transaction():
                return work()
        with self._taken_back_if_it_fails() as states:
            return self._trying(where, _Part(self, where, work, states))

    def ask(self, where: str, question: Callable[[], T]) -> T:
        """What a question to the database yields, asked again if need be; or what may simply be done twice."""
        if self._is_inside or self._is_plan:
            return question()
        return self._trying(where, lambda: self._asked(where, question))

    @contextmanager
    def once(self, where: str) -> Iterator[None]:
        """A transaction for work that cannot be done twice."""
        try:
            with self._taken_back_if_it_fails(), translated(where, self.connection), self.transaction():
                yield
        except ErpUnavailable as error:
            error.what += "; rows that are loaded while they are fetched cannot be tried again within the run"
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that ends with its number in the ledger."""
        self._is_inside = not self._is_plan
        try:
            with self.connection.transaction():
                yield
                if not self._is_plan:
                    self._note_commit()
        finally:
            self._is_inside = False

    def ensure_open(self, where: str) -> bool:
        """A lost connection is opened again, with its locks; returns whether it was lost.

        The old session is surely over then, committed or rolled back. Raises EntityBusy if another run came between.
        """
        if not self.connection.closed:
            return False
        old = self._birth
        self.connection = self._stack.enter_context(self._workspace.erp())
        with translated(where, self.connection):
            self._birth = read_birth(self.connection)
            end_session(self.connection, *old)
            for entity_id, entity in self._locks:
                self._stack.enter_context(runs.entity_lock(self.connection, entity_id, entity))
        logger.info("%s: connected again to the ERP database", where)
        return True

    def commits(self) -> int:
        """How many transactions the ledger has of this run."""
        report = self.reporters[0].report
        assert report.run_id is not None  # only plans have none
        return runs.count_commits(self.connection, report.run_id)

    def go_back(self, states: Sequence[Any]) -> None:
        """Forgets what was reported since, but not how often it was tried."""
        for reporter, state in zip(self.reporters, states, strict=True):
            repeated = reporter.report.repeated
            reporter.go_back(state)
            reporter.report.repeated = repeated

    @contextmanager
    def _taken_back_if_it_fails(self) -> Iterator[list[Any]]:
        states = [reporter.state() for reporter in self.reporters]
        is_done = False
        try:
            yield states
            is_done = True
        finally:
            if not is_done:
                self.go_back(states)

    def _note_commit(self) -> None:
        for reporter in self.reporters:
            reporter.report.commits += 1
            runs.note_commit(self.connection, reporter.report)

    def _asked(self, where: str, question: Callable[[], T]) -> T:
        self.ensure_open(where)
        with self.closed_when_lost(), translated(where, self.connection):
            return question()

    @contextmanager
    def closed_when_lost(self) -> Iterator[None]:
        """The driver does not always notice at once that the server is gone."""
        try:
            yield
        except ErpUnavailable as error:
            if is_lost(error):
                self.connection.close()
            raise

    def _trying(self, where: str, attempt: Callable[[], T]) -> T:
        def tell(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, ErpUnavailable)  # nothing else is tried again
            pause = state.next_action.sleep if state.next_action else 0.0
            number = f"try {state.attempt_number + 1} of {self._retry.attempts}"
            logger.warning("%s; the same part again in %.1f s (%s; %s)", error.what, pause, number, where)
            for reporter in self.reporters:
                reporter.report.repeated[error.what] = reporter.report.repeated.get(error.what, 0) + 1

        result: T = self._retry.trying(may_pass, told=tell)(attempt)
        return result


class _Part(Generic[T]):
    """One part of a load; called until it is in the ERP."""

    def __init__(self, session: Session, where: str, work: Callable[[], T], states: Sequence[Any]) -> None:
        self._session = session
        self._where = where
        self._work = work
        self._states = states
        self._number = session.reporters[0].report.commits + 1
        self._results: list[T] = []
        """what the work yielded, once only the commit was left"""

    def __call__(self) -> T:
        session = self._session
        if session.ensure_open(self._where) and self._results:
            with session.closed_when_lost(), translated(self._where, session.connection):
                if session.commits() == self._number:
                    logger.warning("%s: the connection was lost, but what it had to do is committed", self._where)
                    return self._results.pop()
        session.go_back(self._states)
        self._results.clear()
        with session.closed_when_lost(), translated(self._where, session.connection), session.transaction():
            self._results.append(self._work())
        return self._results.pop()
