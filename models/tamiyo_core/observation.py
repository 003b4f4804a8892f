"""What a policy network reads: one row of numbers for each slot to decide about, under a versioned schema.

A schema's name, version and order of features are part of every trained network: nothing of a published
schema changes, a change is a new version. Two are known:

- ``tensor/1``: the 27 features of Leyline's TensorSchema.
- ``garden/1``: these 27, then what deciding well needs besides: the run as a whole (`HOST_FEATURES`) and the
  seed decided about (`SEED_FEATURES`), which is zero in the row about germination.

Where the 27 features speak of a seed, a row speaks of the seed it is about (not of the one furthest along),
and the row about germination of none. Every feature is a finite number, with 32 bits too.

Every feature has a natural scale: what makes a difference on it. Whoever has seen a feature between two
values has not seen what lies further outside than that; what stands for "not measured" (`MISSING_LOSS` for a
loss, 0 for the rest) lies within one scale of all that is usually measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tamiyo_leyline import FEATURE_NAMES, RunConfig, SeedSignals, SeedStage, TrainingSignals
from tamiyo_leyline.enums import Objective
from tamiyo_leyline.fields import MAX_SEEDS
from tamiyo_leyline.report import TELEMETRY_FEATURES
from tamiyo_leyline.signals import FEATURE_LIMIT, MISSING_LOSS, VISIBLE_HISTORY, feature, padded

from tamiyo_core.policy import DecisionContext

Row = tuple[float, ...]
_Parts = tuple[Row, Row]
"""What stands before and what stands after the five seed columns of the 27 features."""

BLUEPRINTS: Final = 8
"""Positions of a topology that are told apart; a blueprint further down counts as the last of them."""
_LIVE_STAGES: Final = tuple(stage for stage in SeedStage if stage.is_live)
_SEED_COLUMNS: Final = slice(21, 26)

HOST_FEATURES: Final = (
    "epochs_seen",  # epoch / 100, at most 1
    "epochs_left",  # share of max_epochs still to come, 0–1
    "beyond_plan",  # 1 when the training runs longer than max_epochs: what is left is unknown
    "val_loss_objective",  # 1 when the run improves its validation loss rather than its accuracy
    "measured",  # 1 when this report measured the objective
    "diverged",  # 1 when a loss of this report is not finite
    "smoothed_accuracy_delta",  # moving average of the improvement, tens of points
    "accuracy_gap",  # training − validation accuracy, hundreds of points; 0 where one is unknown
    "loss_gap",  # validation − training loss, within ±10; 0 where one is unknown
    "below_best",  # best − current validation accuracy, tens of points
    "host_grad_norm",  # L2 norm of the host's gradients / 10, at most 1; 0 where not measured
    "host_parameters",  # ln(1 + parameters) / 20; 0 where unknown
    "host_examples",  # ln(1 + training examples) / 20; 0 where unknown
    "host_normalised",  # 1 with, −1 without normalisation layers, 0 where unknown
    "live_seeds",  # live seeds / 8, at most 1
    "free_slots",  # free slots / 8, at most 1
    "culled_before",  # 1 when a cull ever took effect
    "epochs_since_cull",  # since the last one, / 50, at most 1; 0 where there was none
    "cull_pending",  # 1 when a cull is issued and unanswered
    "germination_pending",  # 1 when a germination is issued, and not yet to be seen
    *(f"fossils_{position}" for position in range(BLUEPRINTS)),  # of each blueprint, / 4, at most 1
    *(f"penalty_{position}" for position in range(BLUEPRINTS)),  # of each blueprint, / 4, at most 1
    *(f"next_{position}" for position in range(BLUEPRINTS)),  # 1 for the rotation's next blueprint
)
"""What ``garden/1`` says of the run besides the 27 features. Blueprints go by position in the topology."""

SEED_FEATURES: Final = (
    *(f"telemetry_{name}" for name in TELEMETRY_FEATURES),  # Leyline's ten, see `telemetry_features`
    "stage_improvement",  # since the stage began, tens of points, within ±5, as all improvements here
    "stage_improvement_measured",
    "total_improvement",  # since germination
    "total_improvement_measured",
    "attributed_improvement",  # the part owed to the seed
    "attributed_improvement_measured",
    "counterfactual",  # attributed improvement where it is a measured difference to alpha 0, else 0
    "counterfactual_measured",
    "expected_drift",  # what the host would have gained without it
    "below_stage_best",  # best of the stage − now
    "epochs_since_best",  # / 50, at most 1
    "settled",  # 1 when alpha has reached 0.95
    "epochs_since_settled",  # / 50, at most 1
    "telemetry_measured",  # 1 when the report told of its gradients
    *(f"stage_{stage.name.lower()}" for stage in _LIVE_STAGES),  # 1 for its stage
    *(f"blueprint_{position}" for position in range(BLUEPRINTS)),  # 1 for its blueprint
)
"""What ``garden/1`` says of the seed of the row; all zero in the row about germination."""


_EPOCHS: Final = 1_000.0
"""Counts of epochs: a long training. What a network makes of them saturates far earlier."""
_STEPS: Final = 1e6
"""Optimizer steps of such a training."""
_POINTS: Final = 100.0
"""Accuracies and their differences: all there is, from never measured to perfect."""
_TENS_OF_POINTS: Final = (
    "smoothed_accuracy_delta",
    "below_best",
    "stage_improvement",
    "total_improvement",
    "attributed_improvement",
    "counterfactual",
    "expected_drift",
    "below_stage_best",
)
_SCALES: Final = MappingProxyType(
    {
        "epoch": _EPOCHS,
        "global_step": _STEPS,
        "train_loss": MISSING_LOSS,
        "val_loss": MISSING_LOSS,
        "loss_delta": MISSING_LOSS,
        "train_accuracy": _POINTS,
        "val_accuracy": _POINTS,
        "accuracy_delta": _POINTS,
        "plateau_epochs": _EPOCHS,
        "best_val_accuracy": _POINTS,
        "best_val_loss": MISSING_LOSS,
        **{name: MISSING_LOSS for name in FEATURE_NAMES if name.startswith("loss_hist_")},
        **{name: _POINTS for name in FEATURE_NAMES if name.startswith("acc_hist_")},
        "seed_epochs_in_stage": _EPOCHS,
        "seed_improvement": _POINTS,
        "available_slots": float(MAX_SEEDS),
        "loss_gap": MISSING_LOSS,
        **dict.fromkeys(_TENS_OF_POINTS, _POINTS / 10.0),
    }
)
"""Natural scale of losses, points and counts; of the rest (flags, shares, what is brought to about ±1) 1."""


@dataclass(frozen=True, slots=True)
class ObservationSchema:
    """How the signals of a report become rows of numbers; immutable, safe to share.

    Attributes:
        name: of the family of schemas.
        version: raised when a feature changes its place or meaning.
        feature_names: unique, in the order of a row.
        host: the parts of a row that are the same for all rows of a report.
        seed: the part of a row that is about its seed; None: the schema has only the 27 features.
    """

    name: str
    version: int
    feature_names: tuple[str, ...]
    host: Callable[[TrainingSignals, DecisionContext, RunConfig], _Parts]
    seed: Callable[[SeedSignals, TrainingSignals, DecisionContext, RunConfig], Row] | None = None

    @property
    def key(self) -> str:
        """``name/version``, as manifests write it."""
        return f"{self.name}/{self.version}"

    @property
    def scales(self) -> Row:
        """The natural scale of each feature, in its unit: positive."""
        return tuple(_SCALES.get(name, 1.0) for name in self.feature_names)

    def extract(
        self,
        signals: TrainingSignals,
        seed: SeedSignals | None,
        context: DecisionContext,
        config: RunConfig,
    ) -> Row:
        """One row.

        Args:
            signals: of the report.
            seed: a seed of the signals; None: the row about germination.
            context: the ledger's view at that report.
            config: of the run.

        Returns:
            A finite float for each of `feature_names`.
        """
        return self._row(self.host(signals, context, config), signals, seed, context, config)

    def rows(
        self,
        signals: TrainingSignals,
        seeds: Sequence[SeedSignals | None],
        context: DecisionContext,
        config: RunConfig,
    ) -> tuple[Row, ...]:
        """The rows of several seeds of one report, as `extract` gives them; what they share is made once."""
        host = self.host(signals, context, config)
        return tuple([self._row(host, signals, seed, context, config) for seed in seeds])

    def _row(
        self,
        host: _Parts,
        signals: TrainingSignals,
        seed: SeedSignals | None,
        context: DecisionContext,
        config: RunConfig,
    ) -> Row:
        before, after = host
        if seed is None:
            missing = len(self.feature_names) - len(before) - len(after) - len(_NO_SEED)
            row = before + _NO_SEED + after + _ZEROS[:missing]
        else:
            about = () if self.seed is None else self.seed(seed, signals, context, config)
            row = before + _seed_columns(seed) + after + about
        # One vectorised look says that nothing is NaN, infinite or too large for 32 bits.
        return row if math.hypot(*row) <= FEATURE_LIMIT else tuple(map(feature, row))


_VAL_LOSS: Final = Objective.VAL_LOSS
_NO_SEED: Final = (0.0,) * (_SEED_COLUMNS.stop - _SEED_COLUMNS.start)
_ZEROS: Final = (0.0,) * len(SEED_FEATURES)
_NO_BLUEPRINT: Final = (0.0,) * BLUEPRINTS
_ONE_HOTS: Final = tuple(tuple(float(p == q) for q in range(BLUEPRINTS)) for p in range(BLUEPRINTS))
_STAGE_SHARES: Final = tuple(max(0.0, min(1.0, (stage - 1) / 6.0)) for stage in SeedStage)
_STAGES: Final = tuple(tuple(float(stage is live) for live in _LIVE_STAGES) for stage in SeedStage)


def _tensor_host(signals: TrainingSignals, context: DecisionContext, config: RunConfig) -> _Parts:
    """The 27 features without their seed columns, as `TrainingSignals.to_fast` gives them."""
    m = signals.metrics
    loss, accuracy = signals.loss_history, signals.accuracy_history
    best_loss = m.best_val_loss
    values = (
        float(m.epoch),
        float(m.global_step),
        MISSING_LOSS if m.train_loss is None else m.train_loss,
        MISSING_LOSS if m.val_loss is None else m.val_loss,
        m.loss_delta,
        m.train_accuracy or 0.0,
        m.val_accuracy or 0.0,
        m.accuracy_delta,
        float(m.plateau_epochs),
        m.best_val_accuracy or 0.0,
        MISSING_LOSS if best_loss is None or best_loss > MISSING_LOSS else best_loss,
        *padded(loss[-VISIBLE_HISTORY:]),
        *padded(accuracy[-VISIBLE_HISTORY:]),
    )
    if not math.hypot(*values) <= FEATURE_LIMIT:
        values = tuple(signals.to_fast())[: _SEED_COLUMNS.start]
    return values, (float(signals.available_slots),)


def _seed_columns(seed: SeedSignals) -> Row:
    return (
        1.0,
        float(seed.stage),
        float(seed.epochs_in_stage),
        seed.alpha,
        seed.improvement_since_stage_start or 0.0,
    )


def _garden_host(signals: TrainingSignals, context: DecisionContext, config: RunConfig) -> _Parts:
    before, after = _tensor_host(signals, context, config)
    blueprints, slots = context.layout.blueprints, signals.available_slots
    live, fossils = _counted(signals.seeds, blueprints)
    return before, (
        after
        + _progress(signals, config)
        + _host_description(config)
        + (live / 8.0 if live < 8 else 1.0, slots / 8.0 if slots < 8 else 1.0)
        + _culls(context)
        + fossils
        + _penalties(context)
        + _one_hot(_next_blueprint(context, config), blueprints)
    )


def _progress(signals: TrainingSignals, config: RunConfig) -> Row:
    m = signals.metrics
    epoch, planned, norm = m.epoch, config.max_epochs, m.grad_norm_host
    trained, validated, best = m.train_accuracy, m.val_accuracy, m.best_val_accuracy
    train_loss, val_loss = m.train_loss, m.val_loss
    return (
        epoch / 100.0 if epoch < 100 else 1.0,
        1.0 - epoch / planned if epoch < planned else 0.0,
        1.0 if epoch > planned else 0.0,
        1.0 if config.objective is _VAL_LOSS else 0.0,
        1.0 if m.measured else 0.0,
        1.0 if m.diverged else 0.0,
        _points(m.smoothed_accuracy_delta),
        0.0 if trained is None or validated is None else _points((trained - validated) / 10.0),
        0.0 if train_loss is None or val_loss is None else _loss_gap(val_loss - train_loss),
        0.0 if best is None or validated is None else _points(best - validated),
        0.0 if norm is None else _share(norm / 10.0),
    )


def _host_description(config: RunConfig) -> Row:
    host = config.host
    parameters, examples, normalised = host.parameters, host.train_examples, host.normalised
    return (
        0.0 if parameters is None else math.log1p(parameters) / 20.0,
        0.0 if examples is None else math.log1p(examples) / 20.0,
        0.0 if normalised is None else 1.0 if normalised else -1.0,
    )


def _culls(context: DecisionContext) -> Row:
    elapsed = context.epochs_since_cull
    pending = (1.0 if context.cull_pending else 0.0, 1.0 if context.germination_pending else 0.0)
    if elapsed is None:
        return (0.0, 0.0, *pending)
    return (1.0, elapsed / 50.0 if elapsed < 50 else 1.0, *pending)


def _counted(seeds: Sequence[SeedSignals], blueprints: tuple[str, ...]) -> tuple[int, Row]:
    """Live seeds, and fossils of each blueprint as features."""
    if not seeds:
        return 0, _NO_BLUEPRINT
    live, fossils = 0, None
    for seed in seeds:
        if seed.is_live:
            live += 1
        elif seed.stage is SeedStage.FOSSILIZED and seed.blueprint_id in blueprints:
            fossils = [0] * BLUEPRINTS if fossils is None else fossils
            fossils[_position(seed.blueprint_id, blueprints)] += 1
    if fossils is None:
        return live, _NO_BLUEPRINT
    return live, tuple(min(count, 4) / 4.0 for count in fossils)


def _penalties(context: DecisionContext) -> Row:
    if not context.penalties:
        return _NO_BLUEPRINT
    blueprints = context.layout.blueprints
    known = [0.0] * BLUEPRINTS
    for name, penalty in context.penalties.items():
        if name in blueprints:
            position = _position(name, blueprints)
            known[position] = max(known[position], min(penalty, 4.0) / 4.0)
    return tuple(known)


def _next_blueprint(context: DecisionContext, config: RunConfig) -> str:
    rotation = config.rotation
    return rotation[context.cursor % len(rotation)]


def _garden_seed(
    seed: SeedSignals, signals: TrainingSignals, context: DecisionContext, config: RunConfig
) -> Row:
    stage, total, attributed = (
        seed.improvement_since_stage_start,
        seed.total_improvement,
        seed.attributed_improvement,
    )
    best, since, settled = seed.best_stage_improvement, seed.epochs_since_best, seed.epochs_since_settled
    drift = seed.expected_drift
    owed = 0.0 if attributed is None else _points(attributed)
    # Without a counterfactual the part owed to the seed is the total less the drift.
    compared = attributed is not None and (total is None or attributed != total - drift)
    return (
        _telemetry(seed, signals, config)
        + (
            0.0 if stage is None else _points(stage),
            0.0 if stage is None else 1.0,
            0.0 if total is None else _points(total),
            0.0 if total is None else 1.0,
            owed,
            0.0 if attributed is None else 1.0,
            owed if compared else 0.0,
            1.0 if compared else 0.0,
            _points(drift) if drift else 0.0,
            0.0 if best is None or stage is None else _points(best - stage),
            since / 50.0 if since < 50 else 1.0,
            0.0 if settled is None else 1.0,
            0.0 if settled is None else settled / 50.0 if settled < 50 else 1.0,
            0.0 if seed.gradient_health is None else 1.0,
        )
        + _STAGES[seed.stage]
        + _one_hot(seed.blueprint_id, context.layout.blueprints)
    )


def _telemetry(seed: SeedSignals, signals: TrainingSignals, config: RunConfig) -> Row:
    """The ten features of `tamiyo_leyline.telemetry_features`, from signals instead of a report."""
    history, health, norm = seed.accuracy_history, seed.gradient_health, seed.gradient_norm
    epoch, planned, epochs = signals.metrics.epoch, config.max_epochs, seed.epochs_in_stage
    return (
        0.0 if norm is None else _share(norm / 10.0),
        1.0 if health is None else _share(health),
        1.0 if seed.has_vanishing else 0.0,
        1.0 if seed.has_exploding else 0.0,
        epochs / 50.0 if epochs < 50 else 1.0,
        _share(history[-1] / 100.0) if history else 0.0,
        _step((history[-1] - history[-2]) / 10.0) if len(history) > 1 else 0.0,
        _STAGE_SHARES[seed.stage],
        _share(seed.alpha),
        epoch / planned if epoch < planned else 1.0,
    )


# Written out: a call more for each of a row's bounded features would double what a row costs. NaN stays NaN,
# for the row's last look to find.


def _points(value: float) -> float:
    """Tens of points, within ±5."""
    return value / 10.0 if -50.0 <= value <= 50.0 else _clipped(value, 5.0)


def _loss_gap(value: float) -> float:
    return value if -10.0 <= value <= 10.0 else _clipped(value, 10.0)


def _step(value: float) -> float:
    return value if -1.0 <= value <= 1.0 else _clipped(value, 1.0)


def _share(value: float) -> float:
    return value if 0.0 <= value <= 1.0 else max(0.0, _clipped(value, 1.0))


def _clipped(value: float, limit: float) -> float:
    """A value beyond ± `limit` at that limit."""
    return value if math.isnan(value) else math.copysign(limit, value)


def _position(name: str, blueprints: tuple[str, ...]) -> int:
    return min(blueprints.index(name), BLUEPRINTS - 1)


def _one_hot(name: str, blueprints: tuple[str, ...]) -> Row:
    return _ONE_HOTS[_position(name, blueprints)] if name in blueprints else _NO_BLUEPRINT


TENSOR: Final = ObservationSchema("tensor", 1, FEATURE_NAMES, _tensor_host)
"""The 27 features."""
GARDEN: Final = ObservationSchema(
    "garden", 1, (*FEATURE_NAMES, *HOST_FEATURES, *SEED_FEATURES), _garden_host, _garden_seed
)
"""The 27 features and what deciding well needs besides."""
OBSERVATIONS: Final = MappingProxyType({schema.key: schema for schema in (TENSOR, GARDEN)})
"""Every schema, by ``name/version``."""
