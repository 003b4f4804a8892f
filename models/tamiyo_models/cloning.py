"""Behaviour cloning: an ensemble learns what an expert answers, and is measured on runs it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tamiyo_models.advice import limits
from tamiyo_models.demonstrations import Demonstration
from tamiyo_models.manifest import FeatureRange
from tamiyo_models.network import ActorCritic

_STILL: Final = 1e-6
"""A feature with a smaller standard deviation did not vary: the network cannot have learned from it."""


@dataclass(frozen=True, slots=True)
class CloningConfig:
    """Every setting of the training.

    Attributes:
        passes: over the training rows, at most.
        patience: passes without a better validation loss before it ends.
        batch_size: rows of an optimizer step.
        learning_rate: Adam's.
        weight_decay: decoupled, as AdamW has it.
        balance: exponent of the inverse frequency that weighs an action: 0 as they come, 1 all alike.
        value_weight: of the critic's loss against the actors'.
        validation_share: of the runs, which say when to stop.
        test_share: of the runs, which nothing learns from: what is reported is measured on them.
    """

    passes: int = 60
    patience: int = 8
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    balance: float = 0.3
    value_weight: float = 0.1
    validation_share: float = 0.2
    test_share: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Demonstrations as tensors of N rows.

    Attributes:
        features: [N,F] float32.
        mask: [N,A] bool.
        action: [N] int64.
        value: [N] float32, points.
        run: [N] int64.
        altered: [N] bool, whether the trainer was other than the garden's.
    """

    features: Tensor
    mask: Tensor
    action: Tensor
    value: Tensor
    run: Tensor
    altered: Tensor

    @classmethod
    def of(cls, demonstrations: Sequence[Demonstration]) -> Self:
        """The rows of some demonstrations, in their order."""
        runs, features, masks, actions, values, altered = zip(*demonstrations, strict=True)
        return cls(
            torch.tensor(features),
            torch.tensor(masks),
            torch.tensor(actions),
            torch.tensor(values),
            torch.tensor(runs),
            torch.tensor(altered),
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.action)

    def of_runs(self, runs: Tensor) -> Rows:
        """The rows of these runs."""
        return self.chosen(torch.isin(self.run, runs))

    def chosen(self, rows: Tensor) -> Rows:
        """Some rows, by index or by mask."""
        return Rows(*(getattr(self, column)[rows] for column in self.__slots__))


def split_by_run(rows: Rows, shares: Sequence[float], generator: torch.Generator) -> tuple[Rows, ...]:
    """Rows in parts, no run in two of them.

    Args:
        rows: of all runs.
        shares: of the runs that go to each part but the first, which gets the rest.
        generator: of the choice.
    """
    runs = torch.tensor(sorted(set(rows.run.tolist())))
    order = runs[torch.randperm(len(runs), generator=generator)]
    counts = [max(1, round(share * len(runs))) for share in shares]
    parts = torch.split(order, [len(runs) - sum(counts), *counts])
    return tuple(rows.of_runs(part) for part in parts)


def normalise_by(network: ActorCritic, rows: Rows, unread: Sequence[int]) -> None:
    """Set a network's normalisation from rows. What is not to be read, or never varied, weighs 0."""
    features = rows.features.double()
    deviation = features.std(0, correction=0)
    network.feature_mean.copy_(features.mean(0))
    network.feature_scale.copy_(torch.where(_read(rows, unread), 1.0 / deviation.clamp(min=_STILL), 0.0))
    network.value_mean.copy_(rows.value.mean())
    network.value_scale.copy_(rows.value.std(correction=0).clamp(min=_STILL))


def ranges_of(rows: Rows, scales: Sequence[float], unread: Sequence[int]) -> tuple[FeatureRange, ...]:
    """The range of every feature over rows; it is used where `normalise_by` gives it a weight."""
    columns = rows.features.amin(0).tolist(), rows.features.amax(0).tolist(), _read(rows, unread).tolist()
    return tuple(
        FeatureRange(lowest=lowest, highest=highest, scale=scale, used=used)
        for lowest, highest, used, scale in zip(*columns, scales, strict=True)
    )


def _read(rows: Rows, unread: Sequence[int]) -> Tensor:
    """Which features a network gets to see, [F] bool."""
    varied = rows.features.double().std(0, correction=0) > _STILL
    varied[list(unread)] = False
    return varied


def clone(
    network: ActorCritic, learn: Rows, held_out: Rows, config: CloningConfig, generator: torch.Generator
) -> dict[str, float]:
    """Train a network to answer as the expert did, and leave it with its best weights.

    Each actor learns from a resample of the runs of its own: every run counts as often as a Poisson(1) number
    says (Oza & Russell 2001, "Online bagging and boosting").

    Args:
        network: normalised; it is changed.
        learn: rows to learn from.
        held_out: rows of other runs, which say when to stop.
        config: settings.
        generator: of every random choice.

    Returns:
        What happened: passes, the best pass and its losses.
    """
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    balance = _balance(learn, config.balance, network.shape.actions)
    counts = torch.poisson(torch.ones(network.shape.actors, int(learn.run.max()) + 1), generator=generator)
    best, best_pass, passes, weights = float("inf"), 0, 0, _weights(network)
    for passes in range(1, config.passes + 1):  # how many there were is part of the answer
        for batch in torch.split(torch.randperm(len(learn), generator=generator), config.batch_size):
            rows = learn.chosen(batch)
            optimizer.zero_grad()
            share = _loss(network, rows, balance, config, counts[:, rows.run])
            share.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
        with torch.no_grad():
            loss = float(_loss(network, held_out, balance, config, None))
        if loss < best:
            best, best_pass, weights = loss, passes, _weights(network)
        if passes - best_pass >= config.patience:
            break
    network.load_state_dict(weights)
    return {"passes": passes, "best_pass": best_pass, "validation_loss": best}


def _loss(
    network: ActorCritic, rows: Rows, balance: Tensor, config: CloningConfig, counts: Tensor | None
) -> Tensor:
    """Mean loss of the actors plus the weighted loss of the critic; counts [K,B] weigh each actor's rows."""
    hidden = network.hidden(rows.features)
    each = network.actor_log_probs(hidden, rows.mask)
    chosen = each.gather(-1, rows.action.expand(len(each), -1).unsqueeze(-1)).squeeze(-1)
    weight = balance[rows.action] if counts is None else balance[rows.action] * counts
    actors = -(chosen * weight).mean()
    error = (network.value(hidden) - rows.value) / network.value_scale
    return actors + config.value_weight * functional.huber_loss(error, torch.zeros_like(error))


def _balance(rows: Rows, exponent: float, actions: int) -> Tensor:
    """The weight of each action, 1 on average over the rows."""
    count = torch.bincount(rows.action, minlength=actions).clamp(min=1)
    weight = (len(rows) / count) ** exponent
    return weight / weight[rows.action].mean()


def _weights(network: ActorCritic) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def agreement(network: ActorCritic, rows: Rows, actions: Sequence[str]) -> dict[str, object]:
    """How a network's most probable actions compare with the expert's, over rows it has not learned from.

    Returns:
        Agreement over all rows and over those in which the expert acted; for each action how many rows had
        it as the expert's answer, the share of them in which the network agreed (recall), and the share of
        the network's own in which the expert agreed (precision; None where the network never took it).
    """
    with torch.no_grad():
        log_probs, value, uncertainty = network(rows.features, rows.mask)
    taken = log_probs.argmax(-1)
    same = (taken == rows.action).numpy()
    expert, ours = rows.action.numpy(), taken.numpy()
    acted = expert != 0
    return {
        "rows": len(rows),
        "runs": len(set(rows.run.tolist())),
        "agreement": _share(same),
        "agreement_where_expert_acts": _share(same[acted]),
        "value_mean_absolute_error": round(float((value - rows.value).abs().mean()), 4),
        "uncertainty_where_agreed": _mean(uncertainty.numpy()[same]),
        "uncertainty_where_not": _mean(uncertainty.numpy()[~same]),
        "actions": {
            name: {
                "rows": int((expert == number).sum()),
                "recall": _share(same[expert == number]),
                "precision": _share(same[ours == number]),
            }
            for number, name in enumerate(actions)
        },
    }


def refused(rows: Rows, ranges: Sequence[FeatureRange]) -> float:
    """The share of the rows that a network with these training ranges would leave to the heuristic."""
    lowest, highest = map(torch.from_numpy, limits(ranges))
    inside = ((rows.features >= lowest) & (rows.features <= highest)).all(-1)
    return round(float((~inside).double().mean()), 6)


def _share(flags: NDArray[np.bool_]) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


def _mean(values: NDArray[np.float32]) -> float | None:
    return round(float(values.mean()), 6) if len(values) else None
