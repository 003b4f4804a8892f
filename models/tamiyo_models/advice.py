"""Advisor: questions in, advice out, as little work for each row as Python allows.

A row costs two calls of `struct` on the way in and one tuple on the way out; everything else is done for all
rows at once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tamiyo_core.policy import Question, RowAdvice

from tamiyo_models.manifest import FeatureRange, Manifest, SelfTestRow
from tamiyo_models.runner import Runner

OUT_OF_RANGE_MARGIN: Final = 1.0
"""How far outside its training range a feature may be, as a share of that range's width."""
DECIMALS: Final = 6
"""Of every number of an advice."""

_advice = RowAdvice._make


class Advisor:
    """Asks a runner. For use from one thread at a time.

    Args:
        manifest: of the network.
        runner: of the network.
    """

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self._manifest = manifest
        self._runner = runner
        self._capacity = len(runner.features)
        self._actions = len(manifest.actions)
        self._pack_features = struct.Struct(f"{len(manifest.feature_names)}f")
        self._pack_mask = struct.Struct(f"{self._actions}?")
        self._lowest, self._highest = _limits(manifest.normaliser.ranges)
        self._bytes = runner.features.data.cast("B"), runner.mask.data.cast("B")
        self._table = np.empty((self._capacity, self._actions + 2))

    def advise(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        """As `Network.advise`."""
        advice: list[RowAdvice | str] = []
        for start in range(0, len(questions), self._capacity):
            advice += self._ask(questions[start : start + self._capacity])
        return advice

    def warm_up(self) -> None:
        """Run every batch size that the runner prepares."""
        row = self._manifest.self_test.rows[0]
        question = Question(row.features, row.mask)
        for size in self._runner.sizes:
            for _ in range(2):
                self._ask([question] * size)

    def verify(self) -> float:
        """As `Network.verify`; a ValueError says what differs."""
        test = self._manifest.self_test
        answers = self._answers([Question(row.features, row.mask) for row in test.rows])
        difference = 0.0
        for number, (row, answer) in enumerate(zip(test.rows, answers, strict=True)):
            difference = max(difference, _compare(number, row, answer, test.tolerance))
        return difference

    def _ask(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        rows = len(questions)
        self._stage(questions)
        features = self._runner.features[:rows]
        # Written so that NaN is outside.
        inside = (features >= self._lowest) & (features <= self._highest)
        table = self._forward(rows)
        finite = np.isfinite(table)
        advice = _advice_of(table, questions)
        if not inside.all():
            for row in np.flatnonzero(~inside.all(axis=1)):
                advice[row] = self._strangest(features[row], inside[row])
        if not finite.all():
            for row in np.flatnonzero(~finite.all(axis=1)):
                advice[row] = "the network's answer is not finite"
        return advice

    def _answers(self, questions: Sequence[Question]) -> list[list[float]]:
        """For each question its log-probabilities (0 where not legal), value and uncertainty, unrounded."""
        self._stage(questions)
        answers: list[list[float]] = self._forward(len(questions)).tolist()
        return answers

    def _stage(self, questions: Sequence[Question]) -> None:
        """Write the questions into the staging arrays; rows of 32-bit floats and of bytes."""
        features, mask = self._bytes
        pack_features, pack_mask = self._pack_features.pack_into, self._pack_mask.pack_into
        step, place = self._pack_features.size, 0
        actions, flags = self._actions, 0
        try:
            for question in questions:
                if True not in question.mask:
                    raise ValueError("there is no legal action")
                pack_features(features, place, *question.features)
                pack_mask(mask, flags, *question.mask)
                place += step
                flags += actions
        except (struct.error, ValueError) as error:
            raise ValueError(f"question {flags // actions}: {error}") from error

    def _forward(self, rows: int) -> NDArray[np.float64]:
        """The table [rows,A+2] of log-probabilities, value and uncertainty; 0 where not legal."""
        log_probs, value, uncertainty = self._runner.run(rows)
        table = self._table[:rows]
        table[:, : self._actions] = log_probs
        table[:, -2] = value
        table[:, -1] = uncertainty
        np.copyto(table[:, : self._actions], 0.0, where=~self._runner.mask[:rows])
        return table

    def _strangest(self, features: NDArray[np.float32], inside: NDArray[np.bool_]) -> str:
        """Why a row is far outside the training range: its first feature that is."""
        place = int(np.argmin(inside))
        known = self._manifest.normaliser.ranges[place]
        return (
            f"{self._manifest.feature_names[place]} is {features[place]:g}, far outside the training range"
            f" {known.lowest:g} to {known.highest:g}"
        )


def _advice_of(table: NDArray[np.float64], questions: Sequence[Question]) -> list[RowAdvice | str]:
    # Adding 0.0 makes zeros of what was rounded to −0.0.
    rounded = (table.round(DECIMALS) + 0.0).tolist()
    return [
        _advice(
            (
                # A row goes on with value and uncertainty: the mask says where its actions end.
                tuple([p if legal else None for p, legal in zip(row, question[1], strict=False)]),
                row[-2],
                row[-1],
            )
        )
        for row, question in zip(rounded, questions, strict=True)
    ]


def _limits(ranges: Sequence[FeatureRange]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lowest = np.array([known.lowest for known in ranges])
    highest = np.array([known.highest for known in ranges])
    used = np.array([known.used for known in ranges])
    # Rounding to 32 bits must not put a training range outside itself.
    margin = OUT_OF_RANGE_MARGIN * (highest - lowest) + 1e-6 * (1.0 + np.abs(highest) + np.abs(lowest))
    low, high = np.where(used, lowest - margin, -np.inf), np.where(used, highest + margin, np.inf)
    return low.astype(np.float32), high.astype(np.float32)


def _compare(number: int, expected: SelfTestRow, answer: Sequence[float], tolerance: float) -> float:
    """The largest difference of a probability in one row of the self-test."""
    differences = [
        abs(math.exp(wanted) - math.exp(given))
        for wanted, given in zip(expected.log_probs, answer, strict=False)
        if wanted is not None
    ]
    value, uncertainty = answer[-2], answer[-1]
    largest = max(differences)
    allowed = tolerance * max(1.0, abs(expected.value))
    # Written so that NaN fails.
    if not largest <= tolerance:
        raise ValueError(f"row {number}: a probability differs by {largest:.2g}, more than {tolerance:g}")
    if not abs(value - expected.value) <= allowed:
        raise ValueError(f"row {number}: the value is {value:g}, expected {expected.value:g}")
    if not abs(uncertainty - expected.uncertainty) <= tolerance:
        raise ValueError(
            f"row {number}: the uncertainty is {uncertainty:g}, expected {expected.uncertainty:g}"
        )
    return largest
