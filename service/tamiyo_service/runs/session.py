"""Sessions: what the service keeps in memory of the runs that report.

A session's standing is an immutable value. It is replaced only after the store has made the new one durable,
so a failed write changes nothing; and any session can be dropped while idle, because the store has it all.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from tamiyo_core import Engine, Override, RunState

from tamiyo_service.learned.registry import MissingPolicy
from tamiyo_service.observability.tallies import CacheTally
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.snapshots import override_of, restored
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, RunRow

DRAFT_PK: Final = 0
"""No run of a store has this key."""
KEPT_CHARACTERS: Final = 16 * 1024
"""How long a report and its reply may be to stay in memory with an idle run; longer ones are read again.

A report may have a mebibyte, and thousands of runs may be idle.
"""


class Last(NamedTuple):
    """The last report with its reply, so that repeating it needs no read."""

    epoch: int
    payload: str
    reply: str


class Standing(NamedTuple):
    """Where a run stands after its last numbered input."""

    engine: Engine
    """That decides from now on."""
    state: RunState
    attempt: int = 0
    seq: int = 0
    hold: str | None = None
    result: str | None = None
    last: Last | None = None
    """Of the last report, if that was the last input and is short."""
    override: Override | None = None
    """What an operator ordered for the next report."""

    @property
    def last_epoch(self) -> int | None:
        """Last epoch observed in the current attempt."""
        return self.state.tracker.epoch


class Session:
    """A run in memory. Use it only between `Sessions.turn` and `Sessions.release`."""

    __slots__ = ("gone", "line", "run_id", "run_pk", "standing", "users")

    def __init__(self, run_pk: int, run_id: str, standing: Standing) -> None:
        self.run_pk = run_pk
        self.run_id = run_id
        self.standing = standing
        self.line: deque[asyncio.Future[None]] | None = None
        """Those who await their turn, in order; None: nobody ever did."""
        self.users = 0
        """Requests that hold or await the turn: a session in use is never evicted."""
        self.gone = False
        """Whether the run must be looked up again: deleted, or its last write failed."""

    @property
    def engine(self) -> Engine:
        """That decides from now on."""
        return self.standing.engine

    def let_go(self) -> None:
        """Forget a last report that is long: by now the store has it."""
        last = self.standing.last
        if last is not None and len(last.payload) + len(last.reply) > KEPT_CHARACTERS:
            self.standing = self.standing._replace(last=None)

    @property
    def is_draft(self) -> bool:
        """Whether the run does not exist yet: see `draft_session`."""
        return self.run_pk == DRAFT_PK


class Sessions:
    """The runs in memory, the least recently used leaving first.

    Args:
        store: where runs are read from.
        engines: where engines are shared.
        limit: idle runs kept.
    """

    def __init__(self, store: Store, engines: Engines, limit: int) -> None:
        self._store = store
        self._engines = engines
        self._limit = limit
        self.tally: Final = CacheTally()
        self._cached: OrderedDict[str, Session] = OrderedDict()
        self._loading: dict[str, asyncio.Future[Session | None]] = {}

    def __len__(self) -> int:
        return len(self._cached)

    def __contains__(self, run_id: str) -> bool:
        """Whether a run is in memory."""
        return run_id in self._cached

    async def load(self, run_ids: Iterable[str]) -> None:
        """Have those of these runs in memory that there are, as far as the limit allows.

        What goes wrong with one is told when its turn comes.
        """
        missing = [run_id for run_id in run_ids if run_id not in self._cached]
        await asyncio.gather(*map(self._load, missing), return_exceptions=True)

    def add(self, row: RunRow) -> None:
        """Have a run in memory that was created just now."""
        self._make_room()
        self._cached.setdefault(row.run_id, self._session(row, None, self._engines.of_run(row)))

    def idle(self, run_id: str) -> Session | None:
        """The run's session, its turn taken, if it is in memory and nobody uses it; else see `turn`."""
        session = self._current(run_id)
        if session is None or session.users:
            return None
        self._cached.move_to_end(run_id)
        session.users = 1
        self.tally.at_once += 1
        return session

    async def turn(self, run_id: str) -> Session | None:
        """The run's session once it is the caller's turn; None if there is no such run.

        End the turn with `release`.
        """
        began = time.perf_counter()
        while True:
            session = self._current(run_id)
            if session is None:
                loaded = await self._load(run_id)
                if loaded is None:
                    return None
                if loaded.gone:
                    # Who had the turn before us has found out that it no longer holds.
                    continue
                # Others may have used, or have had to evict, what was loaded for all of us.
                session = self._cached.setdefault(run_id, loaded)
            else:
                self.tally.hits += 1
            self._cached.move_to_end(run_id)
            await self._take(session)
            if not session.gone:
                self.tally.waited.observe(time.perf_counter() - began)
                return session
            self.release(session)

    def release(self, session: Session) -> None:
        """End a turn: the next in line goes on."""
        session.users -= 1
        session.let_go()
        while session.line:
            waiting = session.line.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def forget(self, session: Session) -> None:
        """Drop a session whose standing no longer holds: the next turn reads it again."""
        session.gone = True
        self._cached.pop(session.run_id, None)

    def _current(self, run_id: str) -> Session | None:
        session = self._cached.get(run_id)
        if (
            session is not None
            and isinstance(session.standing.engine.policy, MissingPolicy)
            and not session.users
            and self._engines.is_outdated(session.standing.engine)
        ):
            self.forget(session)
            return None
        return session

    async def _take(self, session: Session) -> None:
        session.users += 1
        if session.users == 1:
            return
        waiting = asyncio.get_running_loop().create_future()
        if session.line is None:
            session.line = deque()
        session.line.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():
                session.users -= 1
            else:
                # The turn had come just before.
                self.release(session)
            raise

    async def _load(self, run_id: str) -> Session | None:
        """Read a run into the cache, once for all who ask at the same time."""
        loading = self._loading.get(run_id)
        if loading is None:
            loading = asyncio.ensure_future(self._read(run_id))
            self._loading[run_id] = loading
            loading.add_done_callback(partial(self._loaded, run_id))
        return await asyncio.shield(loading)

    def _loaded(self, run_id: str, loading: asyncio.Future[Session | None]) -> None:
        del self._loading[run_id]
        if not loading.cancelled():
            # Those who waited have the error; if all of them left, nobody needs it.
            loading.exception()

    async def _read(self, run_id: str) -> Session | None:
        loaded = await self._store.load(run_id)
        if loaded is None:
            return None
        self.tally.loads += 1
        row, entry = loaded
        session = self._session(row, entry, await self._engines.met(row))
        self._make_room()
        return self._cached.setdefault(run_id, session)

    def _session(self, row: RunRow, entry: Entry | None, engine: Engine) -> Session:
        standing = standing_of(engine, row, entry)
        session = Session(row.run_pk, row.run_id, standing)
        session.let_go()
        return session

    def _make_room(self) -> None:
        """Evict idle sessions until one more fits, or only sessions in use are left."""
        surplus = len(self._cached) + 1 - self._limit
        idle = (run_id for run_id, session in self._cached.items() if session.users == 0)
        for run_id in list(islice(idle, max(surplus, 0))):
            del self._cached[run_id]
            self.tally.evictions += 1


def standing_of(engine: Engine, row: RunRow, entry: Entry | None) -> Standing:
    """The standing of a run whose latest input is `entry`."""
    if entry is None:
        return Standing(engine, engine.initial())
    state = restored(engine, entry.state)
    override = override_of(entry.waiting_override)
    return Standing(engine, state, entry.attempt, entry.seq, entry.hold, row.result, _last(entry), override)


def _last(entry: Entry) -> Last | None:
    if entry.epoch is None or entry.reply is None:
        return None
    return Last(entry.epoch, entry.payload, entry.reply)
