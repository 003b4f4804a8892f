"""The trainer: an epoch at a time, with commands carried out in between."""

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from tamiyo_leyline import AdaptationCommand, CommandOutcome, CommandType, EpochReport
from torch.nn import functional

from tamiyo_garden.bed import SeedBed, Soil
from tamiyo_garden.commands import execute
from tamiyo_garden.config import GardenConfig
from tamiyo_garden.data import Split, load_dataset
from tamiyo_garden.evaluation import Evaluation, correct_predictions, evaluate
from tamiyo_garden.gradients import GradientMeter, gradient_norm
from tamiyo_garden.host import build_host
from tamiyo_garden.initialisation import generator_for


class CheckpointError(ValueError):
    """The checkpoint is another training's. Load it into a trainer of its configuration and seed."""


class GardenTrainer:
    """Trains one network and lets seeds grow in it.

    The same configuration, seed and commands give the same reports, but for `epoch_duration_ms`. Split,
    host weights and batches depend on the seed alone, so a static and a growing training of one seed begin
    with the same network and see the same batches.

    ::

        report = trainer.train_epoch()        # epochs are numbered from 1
        for command in ask(report):
            trainer.apply(command)            # told in the next report's outcomes
    """

    def __init__(self, config: GardenConfig, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        self.data = load_dataset(
            config.dataset,
            seed=seed,
            train_examples=config.train_examples,
            validation_examples=config.validation_examples,
        )
        self.network = build_host(config.host, generator_for(seed, _HOST_STREAM))
        untrained = evaluate(self.network, self.data.validation)
        self.bed = SeedBed(self.network.slots, _soil(config, seed), untrained)
        self.epoch = 0
        self.global_step = 0
        self._host_parameters = self.network.host_parameters()
        self._optimizer = torch.optim.Adam(self._host_parameters, lr=config.learning_rate, fused=True)
        self._outcomes: dict[str, CommandOutcome] = {}

    @property
    def host_parameters(self) -> int:
        """Parameters of the host alone."""
        return sum(parameter.numel() for parameter in self._host_parameters)

    @property
    def added_parameters(self) -> int:
        """Parameters of the seeds that are in the network now."""
        return self.bed.parameters

    def apply(self, command: AdaptationCommand) -> CommandOutcome:
        """Carry out a command before the next epoch; the next report tells its outcome.

        A command that was given twice is carried out once, and answered the same. REQUEST_STATE asks for
        nothing but that report, so the report says nothing about it.
        """
        if command.command_type is CommandType.REQUEST_STATE:
            return execute(command, self.bed, self.epoch + 1)
        if command.command_id not in self._outcomes:
            self._outcomes[command.command_id] = execute(command, self.bed, self.epoch + 1)
        return self._outcomes[command.command_id]

    def train_epoch(self) -> EpochReport:
        """Train on every example once, validate, move the seeds on, and report."""
        started = time.perf_counter()
        self.epoch += 1
        self.bed.begin_epoch()
        meter = GradientMeter()
        training = self._train(meter)
        validation = evaluate(self.network, self.data.validation)
        self.bed.end_epoch(self.network, self.data.validation, validation)
        outcomes, self._outcomes = tuple(self._outcomes.values()), {}
        return EpochReport(
            epoch=self.epoch,
            global_step=self.global_step,
            train_loss=training.loss,
            train_accuracy=training.accuracy,
            val_loss=validation.loss,
            val_accuracy=validation.accuracy,
            seeds=tuple(seed.report() for seed in self.bed),
            available_slots=len(self.bed.free_slots),
            grad_norm_host=meter.mean,
            outcomes=outcomes,
            epoch_duration_ms=1_000.0 * (time.perf_counter() - started),
        )

    def evaluate_test(self) -> Evaluation:
        """Score the network as it stands on the examples that no policy has seen."""
        return evaluate(self.network, self.data.test)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a trainer of the same configuration and seed needs to go on from here.

        Plain values and tensors, which `torch.load` reads with `weights_only=True`. It is a copy: training
        on does not change it.
        """
        return copy.deepcopy(self._state())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken, whatever this trainer has done since.

        Raises:
            CheckpointError: it was taken from a training of another configuration or seed.
        """
        if state["origin"] != self._origin:
            raise CheckpointError(f"the checkpoint is of {state['origin']}, this trainer is {self._origin}")
        # torch's optimizers would go on in the checkpoint's own tensors.
        state = copy.deepcopy(state)
        self.epoch, self.global_step = state["epoch"], state["global_step"]
        self.bed.load_state_dict(state["bed"])
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        outcomes = [CommandOutcome.model_validate(outcome) for outcome in state["outcomes"]]
        self._outcomes = {outcome.command_id: outcome for outcome in outcomes}

    def _state(self) -> dict[str, Any]:
        return {
            "origin": self._origin,
            "epoch": self.epoch,
            "global_step": self.global_step,
            "bed": self.bed.state_dict(),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "outcomes": [outcome.model_dump(mode="json") for outcome in self._outcomes.values()],
        }

    @property
    def _origin(self) -> str:
        return f"{self.config!r}, seed {self.seed}"

    def _train(self, meter: GradientMeter) -> Evaluation:
        """Train on every example once; loss and accuracy are those of the batches as they passed."""
        self.network.train()
        steps = math.ceil(len(self.data.train) / self.config.batch_size)
        loss, correct = 0.0, 0
        for number, batch in enumerate(self._batches(), start=1):
            self.bed.follow_ramps(number / steps)
            batch_loss, batch_correct = self._step(batch, meter)
            loss += batch_loss * len(batch)
            correct += batch_correct
        return Evaluation(loss / len(self.data.train), 100.0 * correct / len(self.data.train))

    def _step(self, batch: Split, meter: GradientMeter) -> tuple[float, int]:
        learning = self.bed.learning
        self._optimizer.zero_grad()
        for seed in learning:
            seed.clear_gradients()
        outputs = self.network(batch.inputs)
        loss = functional.cross_entropy(outputs, batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
        norm = gradient_norm(self._host_parameters)
        meter.record(norm)
        # A step along NaN could never be taken back; without it, culling a seed can still save the host.
        if math.isfinite(norm):
            self._optimizer.step()
        for seed in learning:
            seed.step()
        self.global_step += 1
        return loss.item(), correct_predictions(outputs, batch.labels)

    def _batches(self) -> Iterator[Split]:
        shuffle = generator_for(self.seed, _BATCH_STREAM, self.epoch)
        order = torch.randperm(len(self.data.train), generator=shuffle)
        return self.data.train.batches(self.config.batch_size, order)


def _soil(config: GardenConfig, seed: int) -> Soil:
    return Soil(
        dimensions=config.host.dimensions,
        learning_rate=config.seed_learning_rate,
        isolated_rate_share=config.isolated_rate_share,
        max_epochs=config.max_epochs,
        gates=config.gates,
        seed=seed,
    )


_HOST_STREAM, _BATCH_STREAM = 1, 2
