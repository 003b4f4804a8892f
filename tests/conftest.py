"""What every folder of tests shares: hypothesis without timings, and strategies for Leyline's values.

Tests draw them with ``st.from_type(TrainingSignals)`` and the like.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from tamiyo_leyline import SeedSignals, SeedStage, TrainingMetrics, TrainingSignals

settings.register_profile("tamiyo", deadline=None)
settings.load_profile("tamiyo")

counts = st.integers(min_value=0, max_value=2**53 - 1)
any_float = st.floats()
any_measure = st.none() | any_float
histories = st.lists(any_float, max_size=12).map(tuple)
ids = st.text(alphabet="abcdefg0123456789._-", min_size=1, max_size=12)

st.register_type_strategy(
    TrainingMetrics,
    st.builds(
        TrainingMetrics,
        epoch=counts,
        global_step=counts,
        train_loss=any_measure,
        val_loss=any_measure,
        loss_delta=any_float,
        train_accuracy=any_measure,
        val_accuracy=any_measure,
        accuracy_delta=any_float,
        smoothed_accuracy_delta=any_float,
        plateau_epochs=counts,
        best_val_accuracy=any_measure,
        best_val_loss=any_measure,
        grad_norm_host=any_measure,
        diverged=st.booleans(),
        measured=st.booleans(),
    ),
)
st.register_type_strategy(
    SeedSignals,
    st.builds(
        SeedSignals,
        seed_id=ids,
        slot_id=ids,
        blueprint_id=st.sampled_from(["norm", "attention"]),
        stage=st.sampled_from(SeedStage),
        is_live=st.booleans(),
        alpha=any_float,
        epochs_in_stage=counts,
        improvement_since_stage_start=any_measure,
        total_improvement=any_measure,
        attributed_improvement=any_measure,
        expected_drift=any_float,
        best_stage_improvement=any_measure,
        epochs_since_best=counts,
        epochs_since_settled=st.none() | counts,
        blended_epoch=st.none() | counts,
        accuracy_history=histories,
        gradient_norm=any_measure,
        gradient_health=any_measure,
        has_vanishing=st.booleans(),
        has_exploding=st.booleans(),
    ),
)
st.register_type_strategy(
    TrainingSignals,
    st.builds(
        TrainingSignals,
        metrics=st.from_type(TrainingMetrics),
        seeds=st.lists(st.from_type(SeedSignals), max_size=4).map(tuple),
        available_slots=counts,
        loss_history=histories,
        accuracy_history=histories,
    ),
)
