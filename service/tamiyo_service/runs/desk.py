"""The desk where every change of a run is handed in: one at a time for each run, true once it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from tamiyo_service.errors import (
    ConflictError,
    InvalidError,
    StoreUnavailableError,
    TamiyoError,
    VersionConflictError,
    no_such_run,
)
from tamiyo_service.retention.erasing import Eraser
from tamiyo_service.runs.change import Change, Together, joined
from tamiyo_service.runs.session import Session, Sessions, Standing
from tamiyo_service.store.protocol import Store

Answer = TypeVar("Answer")

_ROUNDS: Final = 8
"""How often a change is worked out again because another process was faster."""


class Desk:
    """Takes turns, works changes out, has them stored.

    Args:
        store: makes changes durable.
        sessions: the runs in memory.
        eraser: deletes long histories.
    """

    def __init__(self, store: Store, sessions: Sessions, eraser: Eraser) -> None:
        self._store = store
        self._sessions = sessions
        self._eraser = eraser

    async def turn(self, run_id: str, create: Callable[[], Awaitable[None]] | None = None) -> Session:
        """The run's session once it is the caller's turn, which ends with `end` or `Sessions.release`.

        Args:
            run_id: the run.
            create: makes the run if there is none.

        Raises:
            RunNotFoundError: if there is no such run, and no `create`.
        """
        session = await self._sessions.turn(run_id)
        if session is None and create is not None:
            await create()
            session = await self._sessions.turn(run_id)
        if session is None:
            raise no_such_run(run_id)
        return session

    async def change(
        self,
        run_id: str,
        work_out: Callable[[Session], Awaitable[Change[Answer]]],
        *,
        create: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer:
        """Work out a change when the run's turn comes, store it, and return its answer.

        Once the store has accepted the write it is carried through, even if the caller is cancelled.

        Args:
            run_id: the run.
            work_out: gets the session in its turn; what it raises leaves the run as it was.
            create: makes the run if there is none.

        Raises:
            RunNotFoundError: if there is no such run, and no `create`.
            UnavailableError: if the store did not take the write.
        """
        for _ in range(_ROUNDS):
            session = self._sessions.idle(run_id) or await self.turn(run_id, create)
            try:
                change = await self._work_out(session, work_out)
                written = None if change is None else self._store_change(session, change)
            except BaseException:
                self._sessions.release(session)
                raise
            if change is None:
                self._drop(session)
                continue
            try:
                if written is not None:
                    await written
            except VersionConflictError:
                continue
            return change.answer
        raise StoreUnavailableError(f"other processes keep advancing run {run_id}; send it again later")

    async def change_together(
        self,
        works: Mapping[str, Callable[[Session], Awaitable[Change[Answer]]]],
        done: Together[Answer],
    ) -> None:
        """Work out changes of several runs, each in its turn, and store all of them in one transaction.

        Args:
            works: for each run what works its change out.
            done: what became of them is noted here. A run has neither answer nor error if there is none of
                that id, or if another process has advanced it: `change` it by itself.
        """
        drafts: list[tuple[Session, Change[Answer]]] = []
        try:
            # Every batch takes turns in the same order: no two wait for each other.
            for run_id in sorted(works):
                draft = await self._draft(run_id, works[run_id], done)
                if draft is not None:
                    drafts.append(draft)
        except BaseException:
            for session, _ in drafts:
                self._sessions.release(session)
            raise
        if drafts:
            await self.store_together(drafts, done)

    async def delete(self, run_id: str, at: int) -> None:
        """Remove a run with its history; of a long one the rows go little by little, unseen.

        Args:
            run_id: the run.
            at: the present moment.

        Raises:
            RunNotFoundError: if there is no such run.
        """
        there = False
        while not there:
            session = await self.turn(run_id)
            try:
                # Another process may have deleted it, and made another run of that name.
                there = await self._store.version(session.run_pk) is not None
                if there and await self._store.delete_run(session.run_pk, at):
                    self._eraser.erase_soon(session.run_pk)
            finally:
                # Also after a failure: whether it is still there is for the store to say.
                self._drop(session)

    async def _draft(
        self,
        run_id: str,
        work_out: Callable[[Session], Awaitable[Change[Answer]]],
        done: Together[Answer],
    ) -> tuple[Session, Change[Answer]] | None:
        """A change that is to be stored, its turn still held; where there is none, what is known is noted."""
        session = None
        try:
            session = self._sessions.idle(run_id) or await self._sessions.turn(run_id)
            change = None if session is None else await self._work_out(session, work_out)
        except BaseException as error:
            if session is not None:
                self._sessions.release(session)
            if not isinstance(error, Exception):
                raise
            done.errors[run_id] = error
            return None
        if session is None:
            return None
        if change is None:
            self._drop(session)
        elif change.write is None:
            self._sessions.release(session)
            done.answers[run_id] = change.answer
        else:
            return session, change
        return None

    async def store_together(
        self, drafts: Sequence[tuple[Session, Change[Answer]]], done: Together[Answer]
    ) -> None:
        """Store changes of several runs in one transaction, and end their turns.

        Args:
            drafts: sessions, their turns held, each with its change.
            done: see `change_together`.
        """

        def end(error: TamiyoError | None) -> None:
            for session, change in drafts:
                self.end(session, change.standing, error)

        write = joined([change.write for _, change in drafts if change.write is not None])
        try:
            written = self._store.append(write, end)
        except TamiyoError as error:
            for session, _ in drafts:
                self._sessions.release(session)
            done.errors.update({session.run_id: error for session, _ in drafts})
            return
        try:
            await written
        except VersionConflictError:
            return
        except TamiyoError as error:
            done.errors.update({session.run_id: error for session, _ in drafts})
        else:
            done.answers.update({session.run_id: change.answer for session, change in drafts})

    async def _work_out(
        self, session: Session, work_out: Callable[[Session], Awaitable[Change[Answer]]]
    ) -> Change[Answer] | None:
        """The change; None if it came from a standing that another process has left behind.

        Only what writes nothing is looked into here, refusals included: a write is checked as it is stored.
        """
        try:
            change = await work_out(session)
        except (ConflictError, InvalidError, ValidationError):
            if await self._is_behind(session):
                return None
            raise
        if change.write is None and not change.final and await self._is_behind(session):
            return None
        return change

    async def _is_behind(self, session: Session) -> bool:
        return await self._store.version(session.run_pk) != session.standing.seq

    def _drop(self, session: Session) -> None:
        """End a turn, and let the next one read the run again."""
        self._sessions.forget(session)
        self._sessions.release(session)

    def _store_change(self, session: Session, change: Change[Any]) -> asyncio.Future[None] | None:
        """Hand the change to the store; the turn ends with the write, whoever still listens."""
        if change.write is None:
            self._sessions.release(session)
            return None
        return self._store.append(change.write, partial(self.end, session, change.standing))

    def end(self, session: Session, standing: Standing, error: TamiyoError | None) -> None:
        """End a turn with the write it led to."""
        if error is None:
            session.standing = standing
        else:
            # What the store has now is for the store to say.
            self._sessions.forget(session)
        self._sessions.release(session)
