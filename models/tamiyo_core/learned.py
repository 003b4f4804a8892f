"""LearnedPolicy: a network's advice made into decisions.

The network itself is elsewhere: what it says comes with the context, and everything here is a pure function
of it. So a run can be read, explained and replayed where neither the network nor torch is installed.

::

    questions ──▶ network ──▶ advice ──▶ decide ──▶ decisions
                                 │
                                 └─ none, or unusable: the heuristic decides, and says so
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tamiyo_leyline import Action, ActionKind, RunConfig, SeedSignals, TrainingSignals

from tamiyo_core.germination_rules import GerminationRules, GerminationScene
from tamiyo_core.heuristic import HeuristicPolicy, HeuristicState
from tamiyo_core.legality import germination_open
from tamiyo_core.observation import ObservationSchema
from tamiyo_core.policy import Advice, Comparison, Decision, DecisionContext, Question, RowAdvice

LEARNED: Final = "learned"
"""Name of the policy."""
_ILLEGAL: Final = -math.inf
"""Log-probability of an action that is not legal."""


class _Slot(NamedTuple):
    """A decision to make."""

    seed: SeedSignals | None
    mask: tuple[bool, ...]
    is_open: bool
    """Whether there is a choice."""

    @property
    def name(self) -> str:
        return "" if self.seed is None else self.seed.slot_id


class LearnedPolicy:
    """Decides as a network advises, row by row: one for each live seed, one for germination.

    Without advice, or with unusable advice, the heuristic decides the whole report instead.

    Args:
        config: of the run; `LearnedConfig` says whether actions are sampled.
        version: of the artifact that holds the network, its name included.
        sha256: of that artifact.
        observation: what the network reads.
    """

    name = LEARNED

    def __init__(
        self, config: RunConfig, *, version: str, sha256: str, observation: ObservationSchema
    ) -> None:
        self.version: Final = version
        self.sha256: Final = sha256
        self._config = config
        self._observation = observation
        self._pack = struct.Struct(f"{len(observation.feature_names)}f").pack
        self._heuristic = HeuristicPolicy(config)
        self._germination = GerminationRules(config)
        learned = config.learned
        self._temperature = None if learned.deterministic else learned.temperature

    @property
    def samples(self) -> bool:
        """Whether an answer depends on the random number of the report."""
        return self._temperature is not None

    def initial(self) -> HeuristicState:
        """The state before any report: the heuristic's, which has to know the run when it is needed."""
        return self._heuristic.initial()

    def snapshot(self, state: HeuristicState) -> list[Any]:
        """The state as JSON-safe values."""
        return self._heuristic.snapshot(state)

    def restore(self, data: Any) -> HeuristicState:
        """The inverse of `snapshot`.

        Raises:
            SnapshotError: if the data is not a snapshot.
        """
        return self._heuristic.restore(data)

    def questions(
        self, _state: HeuristicState, signals: TrainingSignals, context: DecisionContext
    ) -> tuple[Question, ...]:
        """What the network is asked: every slot where there is a choice."""
        asked = [slot for slot in self._slots(signals, context) if slot.is_open]
        if not asked:
            return ()
        rows = self._observation.rows(signals, [slot.seed for slot in asked], context, self._config)
        pack = self._pack
        return tuple(Question(row, slot.mask, pack(*row)) for row, slot in zip(rows, asked, strict=True))

    def decide(
        self, state: HeuristicState, signals: TrainingSignals, context: DecisionContext
    ) -> tuple[HeuristicState, tuple[Decision, ...]]:
        """Decide about every live seed, then about germination."""
        slots = self._slots(signals, context)
        trouble = _trouble(context.advice, slots)
        if trouble is not None:
            after, decisions = self._heuristic.decide(state, signals, context)
            return after, tuple(_instead(decision, trouble) for decision in decisions)
        rows = iter(context.advice if isinstance(context.advice, tuple) else ())
        decided: list[Decision] = []
        for slot in slots:
            row = next(rows) if slot.is_open else None
            closed = self._closed(slot, signals, context, decided)
            if closed is not None:
                decided.append(closed)
            elif row is not None:
                decided.append(self._as_advised(slot, row, context))
        return self._heuristic.observe(state, signals), tuple(decided)

    def _slots(self, signals: TrainingSignals, context: DecisionContext) -> list[_Slot]:
        # Under a hold the network is asked all the same: an operator wants to know what it would have done.
        layout, free = context.layout, context._replace(held=False) if context.held else context
        slots = [
            _slot(seed, layout.mask(None if seed.seed_id in context.settled_seeds else seed.stage))
            for seed in signals.seeds
            if seed.is_live
        ]
        if context.advice is not None and context.questions:
            # Worked out when they were asked, at this very report.
            opened = len(context.questions) > sum([slot.is_open for slot in slots])
        else:
            opened = germination_open(signals, free, self._config)
        slots.append(_slot(None, layout.mask(None, germination_open=opened)))
        return slots

    def _closed(
        self, slot: _Slot, signals: TrainingSignals, context: DecisionContext, decided: Sequence[Decision]
    ) -> Decision | None:
        """The WAIT where there is no choice, and why; None: there is one."""
        if slot.seed is None:
            culls = any(decision.kind is ActionKind.CULL for decision in decided)
            return self._germination.constraint(GerminationScene(signals, context, len(decided), culls))
        if slot.is_open:
            return None
        reason = f"seed {slot.seed.seed_id}: its end is executed, waiting for the next report to show it"
        return Decision(context.layout.wait, reason, 1.0, slot.seed)

    def _as_advised(self, slot: _Slot, row: RowAdvice, context: DecisionContext) -> Decision:
        log_probs = row.log_probs
        chances = _softmax(log_probs, 1.0 if self._temperature is None else self._temperature)
        legal = [number for number, value in enumerate(log_probs) if value > _ILLEGAL]
        chosen = max(legal, key=chances.__getitem__)
        if self._temperature is not None and context.draw < 1.0:
            chosen = _sampled(chances, _draw_for(context.draw, slot.name, self.version))
        actions = context.layout.actions
        legal.remove(chosen)
        runner_up = actions[max(legal, key=chances.__getitem__)]
        action, chance, rival = actions[chosen], chances[chosen], chances[runner_up.number]
        return Decision(
            action,
            _words(slot, action, chance, row, runner_up),
            chance,
            slot.seed,
            (Comparison("probability", chance, rival, chance > rival),),
            runner_up,
            probabilities=chances,
            value=row.value,
            entropy=-sum([chance * math.log(chance) for chance in chances if chance > 0.0]),
            uncertainty=row.uncertainty,
        )


def _slot(seed: SeedSignals | None, mask: tuple[bool, ...]) -> _Slot:
    return _Slot(seed, mask, mask.count(True) > 1)


def _trouble(advice: Advice | None, slots: list[_Slot]) -> str | None:
    """Why the advice cannot be followed; None: it can."""
    if isinstance(advice, str):
        return advice
    asked = [slot for slot in slots if slot.is_open]
    if len(advice or ()) != len(asked):
        return f"the network answered {len(advice or ())} of {len(asked)} questions"
    for slot, row in zip(asked, advice or (), strict=True):
        if tuple([value > _ILLEGAL for value in row.log_probs]) != slot.mask:
            return "the network answered for other actions than are legal"
    return None


def _instead(decision: Decision, trouble: str) -> Decision:
    return decision._replace(reason=f"{decision.reason} (the heuristic decided: {trouble})", fallback=trouble)


def _words(slot: _Slot, action: Action, chance: float, row: RowAdvice, runner_up: Action) -> str:
    subject = "germination" if slot.seed is None else f"seed {slot.seed.seed_id}"
    return (
        f"{subject}: the network gives {action.name} {chance:.1%} (next {runner_up.name};"
        f" value {row.value:+.2f}, uncertainty {row.uncertainty:.2f})"
    )


def _softmax(log_probs: tuple[float, ...], temperature: float) -> tuple[float, ...]:
    """Probabilities of the legal actions, proportional to exp(log p / temperature); 0.0 for the others."""
    highest = max(log_probs)
    weights = [math.exp((value - highest) / temperature) for value in log_probs]
    total = sum(weights)
    return tuple([weight / total for weight in weights])


def _sampled(chances: tuple[float, ...], draw: float) -> int:
    """The action whose part of the unit interval the draw falls into."""
    reached, last = 0.0, 0
    for number, chance in enumerate(chances):
        if chance > 0.0:
            reached, last = reached + chance, number
            if draw < reached:
                return number
    return last


def _draw_for(draw: float, slot: str, version: str) -> float:
    """A number in [0, 1) of one slot's own, made from the report's: 53 bits of a SHA-256."""
    digest = hashlib.sha256(f"{draw!r}\n{slot}\n{version}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
