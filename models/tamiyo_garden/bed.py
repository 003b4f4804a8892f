"""The seed bed: every seed of a training, and the slots they grow in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tamiyo_leyline import SeedStage
from torch import nn

from tamiyo_garden.blueprints import build_blueprint
from tamiyo_garden.data import Split
from tamiyo_garden.evaluation import Evaluation
from tamiyo_garden.initialisation import generator_for
from tamiyo_garden.lifecycle import Gates
from tamiyo_garden.record import SeedRecord
from tamiyo_garden.seed import Seed
from tamiyo_garden.slot import SeedSlot


class NoFreeSlotError(RuntimeError):
    """Every slot, or the one asked for, is taken. Wait until a seed has left."""


class UnknownSeedError(LookupError):
    """No seed of that name is in the bed. Ask for one that the last report shows."""


@dataclass(frozen=True)
class Soil:
    """What all seeds of a bed have in common.

    Attributes:
        dimensions: 1 for features (B, C, L), 2 for (B, C, H, W).
        learning_rate: of each seed's optimizer.
        isolated_rate_share: share of it that a seed learns with in TRAINING, 0–1.
        max_epochs: length of the training, which the dwell times are a share of.
        gates: what moving on asks for.
        seed: of the training; every germination draws its weights from (seed, how many came before).
    """

    dimensions: int
    learning_rate: float
    isolated_rate_share: float
    max_epochs: int
    gates: Gates
    seed: int


class SeedBed:
    """Seeds by slot. A slot is free when it holds no seed, or one that is DORMANT again.

    Args:
        slots: the network's, in the order the features pass them.
        soil: what the seeds have in common.
        score: the network's on validation before its first epoch.
    """

    def __init__(self, slots: list[SeedSlot], soil: Soil, score: Evaluation) -> None:
        self._score = score
        self._slots = {slot.slot_id: slot for slot in slots}
        self._soil = soil
        self._seeds: dict[str, Seed] = {}
        self._germinations = 0

    def __iter__(self) -> Iterator[Seed]:
        """Seeds in the order of their slots; failed ones until their slot is free."""
        return (self._seeds[slot_id] for slot_id in self._slots if slot_id in self._seeds)

    @property
    def learning(self) -> list[Seed]:
        """Seeds whose modules get gradients."""
        return [seed for seed in self if seed.in_network]

    @property
    def free_slots(self) -> list[str]:
        """Slots that can take a seed, in the order the features pass them."""
        return [slot_id for slot_id in self._slots if self._is_free(slot_id)]

    @property
    def parameters(self) -> int:
        """Parameters of the seeds that are in the network now."""
        return sum(seed.record.parameters for seed in self.learning)

    def seed(self, seed_id: str | None) -> Seed:
        """The seed called `seed_id`.

        Raises:
            UnknownSeedError: there is none.
        """
        for seed in self:
            if seed.record.seed_id == seed_id:
                return seed
        raise UnknownSeedError(f"no seed {seed_id!r}")

    def germinate(self, blueprint_id: str, slot_id: str | None = None) -> Seed:
        """Plant a new seed in the named slot, or in the first free one.

        Args:
            blueprint_id: what it shall grow into.
            slot_id: where; None leaves the choice to the bed.

        Raises:
            NoFreeSlotError: nowhere to plant it.
            UnknownBlueprintError: no such blueprint.
        """
        free = [free for free in self.free_slots if slot_id in (None, free)]
        if not free:
            raise NoFreeSlotError("no free slot" if slot_id is None else f"slot {slot_id!r} is not free")
        seed = self._plant(self._record_of_next_seed(blueprint_id, free[0]))
        self._germinations += 1
        return seed

    def begin_epoch(self) -> None:
        """Forget seeds that are DORMANT and move those on that only wait for time."""
        self._seeds = {
            slot_id: seed
            for slot_id, seed in self._seeds.items()
            if seed.record.stage is not SeedStage.DORMANT
        }
        for seed in self:
            seed.begin_epoch(self._score)

    def follow_ramps(self, progress: float) -> None:
        """Set every blending seed's alpha for when `progress`, 0–1, of the epoch will have passed."""
        for seed in self:
            seed.follow_ramp(progress, self._soil.gates)

    def end_epoch(self, network: nn.Module, validation: Split, score: Evaluation) -> None:
        """Measure every seed, then move those on whose gate is open; `score` is the network as it is."""
        self._score = score
        for seed in self:
            seed.measure(network, validation, score)
        for seed in self:
            seed.end_epoch(score, self._soil.gates, self._soil.max_epochs)

    def state_dict(self) -> dict[str, Any]:
        """Every seed, for a checkpoint."""
        return {
            "score": (self._score.loss, self._score.accuracy),
            "germinations": self._germinations,
            "seeds": [seed.state_dict() for seed in self],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Grow a checkpoint's seeds instead of what grows here; their weights come with the network's."""
        for slot in self._slots.values():
            slot.clear()
        self._seeds = {}
        self._score, self._germinations = Evaluation(*state["score"]), state["germinations"]
        for entry in state["seeds"]:
            self._plant(SeedRecord.from_dict(entry["record"])).load_optimizer(entry["optimizer"])

    def _record_of_next_seed(self, blueprint_id: str, slot_id: str) -> SeedRecord:
        return SeedRecord(
            seed_id=f"seed-{self._germinations + 1}",
            slot_id=slot_id,
            blueprint_id=blueprint_id,
            generation=self._germinations,
            learning_rate=self._soil.learning_rate,
            initial=self._score,
            current=self._score,
            at_stage_start=self._score,
            best_accuracy=self._score.accuracy,
        )

    def _plant(self, record: SeedRecord) -> Seed:
        slot = self._slots[record.slot_id]
        weights = generator_for(self._soil.seed, _SEED_STREAM, record.generation)
        module = build_blueprint(record.blueprint_id, slot.channels, self._soil.dimensions, weights)
        seed = Seed(record, slot, module, self._soil.isolated_rate_share)
        self._seeds[record.slot_id] = seed
        return seed

    def _is_free(self, slot_id: str) -> bool:
        seed = self._seeds.get(slot_id)
        return seed is None or seed.record.stage is SeedStage.DORMANT


_SEED_STREAM = 3
