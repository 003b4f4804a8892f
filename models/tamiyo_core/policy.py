"""The Policy protocol: what every policy, built in or a third party's, gets and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tamiyo_leyline import (
    Action,
    ActionKind,
    ActionLayout,
    RiskLevel,
    SeedSignals,
    TrainingSignals,
)


class Comparison(NamedTuple):
    """A number a rule looked at, the setting it was held against, and whether the condition held."""

    name: str
    value: float | None
    threshold: float
    holds: bool


class Decision(NamedTuple):
    """What to do with one slot, and why. Frozen."""

    action: Action
    reason: str
    confidence: float
    seed: SeedSignals | None = None
    """The seed decided about; None: the question of germination."""
    comparisons: tuple[Comparison, ...] = ()
    runner_up: Action | None = None
    risk_level: RiskLevel | None = None
    """Where it differs from the usual risk of the action."""
    probabilities: tuple[float, ...] | None = None
    """One for each action of the layout; None: no chance was involved, no network asked."""
    value: float | None = None
    entropy: float | None = None
    uncertainty: float | None = None
    fallback: str | None = None
    """Why another policy decided than the one the run asked for; None: that one did."""
    ordered: bool = False
    """Whether an operator ordered it in place of the policy."""

    @property
    def kind(self) -> ActionKind:
        """The kind of the action."""
        return self.action.kind

    def overruled(self, action: Action, reason: str) -> Decision:
        """This decision with what an operator wants in its place; what the policy wanted comes second."""
        return self._replace(
            action=action,
            reason=reason,
            confidence=1.0,
            risk_level=None,
            runner_up=self.runner_up if self.action == action else self.action,
            probabilities=None,
        )

    @property
    def blueprint_id(self) -> str | None:
        """The blueprint a GERMINATE is to build."""
        return self.action.blueprint_id


class Question(NamedTuple):
    """What a network is asked: one slot to decide about. One row of its input."""

    features: tuple[float, ...]
    """Finite, in the order of the network's observation schema."""
    mask: tuple[bool, ...]
    """Which actions are legal, at least two: where there is no choice nobody is asked."""
    packed: bytes = b""
    """The features as 32-bit floats of the machine, so that nobody packs while many wait; empty: not yet."""


class RowAdvice(NamedTuple):
    """What a network said to one question. Numbers are rounded to six decimals, as they are stored."""

    log_probs: tuple[float, ...]
    """Natural logarithm of each action's probability; −inf: not legal."""
    value: float
    uncertainty: float
    """Disagreement of the network's ensemble, which no entropy shows."""


Advice = tuple[RowAdvice, ...] | str
"""A network's words to all questions of one report, in their order; or the reason why there are none."""


class DecisionContext(NamedTuple):
    """What a policy may know besides the signals: the ledger's view of the run at this report. Frozen."""

    layout: ActionLayout
    """The actions there are."""
    penalties: Mapping[str, float]
    """Of each penalised blueprint, at this epoch."""
    cursor: int
    """Position in the blueprint rotation."""
    epochs_since_cull: int | None
    """Epoch numbers since the last cull took effect; None: there was none."""
    cull_pending: bool
    """Whether a cull is issued and unanswered."""
    germination_pending: bool
    """Whether a germination is issued and unanswered, or executed and not yet to be seen."""
    settled_seeds: frozenset[str]
    """Seeds whose end the trainer has reported but not yet shown: they get WAIT."""
    held: bool
    """Whether an operator holds the run."""
    draw: float
    """A number in [0, 1) for every random choice of this report; 1.0: make none."""
    advice: Advice | None = None
    """For a policy that asks a network; None: it had no question."""
    questions: tuple[Question, ...] = ()
    """What the advice answers."""


class Policy(Protocol):
    """Decides about the live seeds of a run and about germination.

    A policy is immutable and keeps no history: what it must remember between reports is its state, a small
    value it gets back with the next report. `decide` must not change its arguments, use the clock, or draw
    random numbers of its own: the same arguments give the same answer. `tamiyo_core.conformance` tests this.
    """

    @property
    def name(self) -> str:
        """Name under which a run chooses it."""

    @property
    def version(self) -> str:
        """Raised whenever the same arguments could give another answer."""

    def initial(self) -> Any:
        """The state before any report."""

    def decide(
        self, state: Any, signals: TrainingSignals, context: DecisionContext
    ) -> tuple[Any, tuple[Decision, ...]]:
        """Decide.

        Args:
            state: what it returned with the report before.
            signals: of this report; seeds are ordered by slot_id.
            context: the ledger's view.

        Returns:
            The new state, and one decision for every live seed in the order of the signals, then one about
            germination (``seed`` None). Reasons are never empty, confidences lie in 0–1.
        """

    def snapshot(self, state: Any) -> Any:
        """The state as JSON-safe values."""

    def restore(self, data: Any) -> Any:
        """The inverse of `snapshot`.

        Raises:
            SnapshotError: if the data is not a snapshot.
        """


@runtime_checkable
class AskingPolicy(Policy, Protocol):
    """A policy that decides with the help of a network.

    The network runs elsewhere, for many runs at once. What it says is an input of the report like any other:
    it comes with the context, is stored with the decision, and the same advice gives the same answer.
    """

    @property
    def sha256(self) -> str:
        """Of the artifact that holds the network: who answers the questions."""

    @property
    def samples(self) -> bool:
        """Whether an answer may depend on the random number of the report."""

    def questions(
        self, state: Any, signals: TrainingSignals, context: DecisionContext
    ) -> tuple[Question, ...]:
        """What the network is asked before `decide`, which then finds the advice in its context.

        Returns:
            One question for each decision where more than one action is legal, in the order of the decisions.
        """
