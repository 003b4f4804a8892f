"""Advisor: questions in, advice out, as little work for each row as Python allows.

A row costs two tuples on the way out, and a call of `struct` on the way in unless it comes packed; everything
else is done for all rows at once, or once for each mask there is.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tamiyo_core.policy import Question, RowAdvice

from tamiyo_models.manifest import FeatureRange, Manifest, SelfTest, SelfTestRow
from tamiyo_models.runner import Runner

OUT_OF_RANGE_MARGIN: Final = 1.0
"""How far outside its training range a feature may be, as a share of its reach (`FeatureRange.reach`)."""
DECIMALS: Final = 6
"""Of every number of an advice."""
_ONE: Final = 10.0**DECIMALS

_MASKS: Final = 4096
"""Masks that are remembered."""
_advice: Final[Callable[[tuple[Any, ...]], RowAdvice]] = partial(tuple.__new__, RowAdvice)
"""`RowAdvice._make` without its own look at the length."""


class _Masks(dict[tuple[bool, ...], bytes]):
    """Every mask that was asked with, as the staging array holds it; made when first seen.

    Args:
        actions: A.
    """

    def __init__(self, actions: int) -> None:
        super().__init__()
        self._actions = actions

    def __missing__(self, mask: tuple[bool, ...]) -> bytes:
        if len(mask) != self._actions:
            raise ValueError(f"the mask has {len(mask)} flags for {self._actions} actions")
        if True not in mask:
            raise ValueError("there is no legal action")
        if len(self) >= _MASKS:
            self.clear()
        made = self[mask] = bytes(mask)
        return made


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
        self._row = struct.Struct(f"{len(manifest.feature_names)}f")
        self._masks = _Masks(self._actions)
        self._lowest, self._highest = limits(manifest.normaliser.ranges)
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
        self._stage([Question(row.features, row.mask) for row in test.rows])
        answers = self._forward(len(test.rows)).tolist()
        difference = 0.0
        for number, (row, answer) in enumerate(zip(test.rows, answers, strict=True)):
            difference = max(difference, _compare(number, row, answer, test))
        return difference

    def _ask(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        rows = len(questions)
        self._stage(questions)
        features = self._runner.features[:rows]
        # Written so that NaN is outside.
        inside = (features >= self._lowest) & (features <= self._highest)
        table = self._forward(rows)
        finite = np.isfinite(table)
        advice = _advice_of(table)
        if not inside.all():
            for row in np.flatnonzero(~inside.all(axis=1)):
                advice[row] = self._strangest(features[row], inside[row])
        # Of every row the legal actions, the value and the uncertainty are finite, and nothing else.
        if np.count_nonzero(finite) != np.count_nonzero(self._runner.mask[:rows]) + 2 * rows:
            self._refuse(advice, finite)
        return advice

    def _stage(self, questions: Sequence[Question]) -> None:
        """Write the questions into the staging arrays: rows of 32-bit floats, and of bytes."""
        features, flags = self._bytes
        masks, pack = self._masks, self._row.pack
        try:
            joined = b"".join([masks[question[1]] for question in questions])
            packed = b"".join([question[2] or pack(*question[0]) for question in questions])
        except (struct.error, ValueError):
            packed = b""
        if len(packed) != len(questions) * self._row.size:
            raise ValueError(self._fault(questions))
        features[: len(packed)] = packed
        flags[: len(joined)] = joined

    def _fault(self, questions: Sequence[Question]) -> str:
        """What is wrong with the first question that is none."""
        size = self._row.size
        for number, question in enumerate(questions):
            try:
                given = len(
                    self._masks[question.mask] and (question.packed or self._row.pack(*question.features))
                )
            except (struct.error, ValueError) as error:
                return f"question {number}: {error}"
            if given != size:
                return f"question {number}: {given} bytes of features, expected {size}"
        return "there is no question"

    def _forward(self, rows: int) -> NDArray[np.float64]:
        """The table [rows,A+2] of log-probabilities (−inf: not legal), value and uncertainty."""
        log_probs, value, uncertainty = self._runner.run(rows)
        table = self._table[:rows]
        table[:, : self._actions] = log_probs
        table[:, -2] = value
        table[:, -1] = uncertainty
        return table

    def _refuse(self, advice: list[RowAdvice | str], finite: NDArray[np.bool_]) -> None:
        """Put a reason where a number that should be finite is not; what else was wrong comes first."""
        expected = np.ones_like(finite)
        expected[:, : self._actions] = self._runner.mask[: len(finite)]
        for row in np.flatnonzero((finite != expected).any(axis=1)):
            if not isinstance(advice[row], str):
                advice[row] = "the network's answer is not finite"

    def _strangest(self, features: NDArray[np.float32], inside: NDArray[np.bool_]) -> str:
        """Why a row is far outside the training range: its first feature that is."""
        place = int(np.argmin(inside))
        known = self._manifest.normaliser.ranges[place]
        return (
            f"{self._manifest.feature_names[place]} is {features[place]:g}, far outside the training range"
            f" {known.lowest:g} to {known.highest:g}"
        )


def _advice_of(table: NDArray[np.float64]) -> list[RowAdvice | str]:
    # Adding 0.0 makes zeros of what was rounded to −0.0.
    rounded = table.round(DECIMALS) + 0.0
    log_probs = map(tuple, rounded[:, :-2].tolist())
    return list(map(_advice, zip(log_probs, *rounded[:, -2:].T.tolist(), strict=True)))


def limits(ranges: Sequence[FeatureRange]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The lowest and the highest value of each feature that is not far outside its training range."""
    lowest = np.array([known.lowest for known in ranges])
    highest = np.array([known.highest for known in ranges])
    reach = np.array([known.reach for known in ranges])
    used = np.array([known.used for known in ranges])
    # Rounding to 32 bits must not put a training range outside itself.
    margin = OUT_OF_RANGE_MARGIN * reach + 1e-6 * (1.0 + np.abs(highest) + np.abs(lowest))
    low, high = np.where(used, lowest - margin, -np.inf), np.where(used, highest + margin, np.inf)
    return low.astype(np.float32), high.astype(np.float32)


def _compare(number: int, expected: SelfTestRow, answer: Sequence[float], test: SelfTest) -> float:
    """The largest difference of a probability in one row of the self-test."""
    # What is no logarithm of a probability has no exponential, perhaps, and is too large in any case.
    differences = [
        abs(math.exp(wanted) - math.exp(min(given, 1.0)))
        for wanted, given in zip(expected.log_probs, answer, strict=False)
        if wanted is not None
    ]
    value, uncertainty = answer[-2], answer[-1]
    largest, tolerance = max(differences), test.tolerance
    # Written so that NaN fails.
    if not largest <= tolerance:
        raise ValueError(f"row {number}: a probability differs by {largest:.2g}, more than {tolerance:g}")
    if not abs(value - expected.value) <= test.value_tolerance:
        raise ValueError(f"row {number}: the value is {value:g}, expected {expected.value:g}")
    if not abs(uncertainty - expected.uncertainty) <= tolerance:
        raise ValueError(
            f"row {number}: the uncertainty is {uncertainty:g}, expected {expected.uncertainty:g}"
        )
    return largest
