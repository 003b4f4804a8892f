"""What a loaded network says to questions, in both formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from tamiyo_core.policy import Question, RowAdvice
from tamiyo_models.advice import OUT_OF_RANGE_MARGIN, Advisor, limits
from tamiyo_models.artifact import Network, load_network, read_manifest
from tamiyo_models.cuda import LADDER, padded
from tamiyo_models.manifest import FeatureRange, FileFormat
from tamiyo_models.network import ActorCritic
from tamiyo_models.runner import Answers, CpuRunner

from tests.models.questions import ACTIONS, FEATURES, some_questions


@pytest.fixture(scope="module", params=["torchscript", "onnx"])
def loaded(request: pytest.FixtureRequest, artifact: Path) -> Network:
    file_format: FileFormat = request.param
    return load_network(artifact, file_format=file_format)


def given(advice: Sequence[RowAdvice | str]) -> list[RowAdvice]:
    """All of it, none being refused."""
    answers = [row for row in advice if not isinstance(row, str)]
    assert len(answers) == len(advice), advice
    return answers


def changed(question: Question, place: int, value: float) -> Question:
    features = list(question.features)
    features[place] = value
    return question._replace(features=tuple(features))


def probabilities(row: RowAdvice) -> list[float]:
    return [math.exp(p) for p in row.log_probs]


class FixedRunner(CpuRunner):
    """Answers every row alike, but for some rows whose answers are given."""

    def __init__(self, answers: dict[int, tuple[float, float, float]]) -> None:
        super().__init__(FEATURES, ACTIONS)
        self._answers = answers

    def run(self, rows: int) -> Answers:
        log_probs = np.where(self.mask[:rows], np.float32(-1.0), np.float32(-np.inf))
        value, uncertainty = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
        for row, (log_prob, estimate, disagreement) in self._answers.items():
            log_probs[row, 0], value[row], uncertainty[row] = log_prob, estimate, disagreement
        return log_probs, value, uncertainty


def test_advice_is_what_the_trained_network_says(loaded: Network, network: ActorCritic) -> None:
    questions = some_questions(40, seed=9)
    with torch.inference_mode():
        log_probs, value, uncertainty = network(
            torch.tensor([q.features for q in questions]), torch.tensor([q.mask for q in questions])
        )
    for row, answer in enumerate(given(loaded.advise(questions))):
        assert probabilities(answer) == pytest.approx(log_probs[row].exp().tolist(), abs=1e-5)
        assert answer.value == pytest.approx(value[row].item(), abs=1e-5)
        assert answer.uncertainty == pytest.approx(uncertainty[row].item(), abs=1e-5)


def test_only_legal_actions_have_a_probability_and_they_sum_to_one(loaded: Network) -> None:
    questions = some_questions(50)
    for question, answer in zip(questions, given(loaded.advise(questions)), strict=True):
        assert tuple(p > -math.inf for p in answer.log_probs) == question.mask
        assert sum(probabilities(answer)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("size", [2, 7, 64, 300])
def test_an_answer_does_not_depend_on_the_batch(loaded: Network, size: int) -> None:
    questions = some_questions(size)
    together = given(loaded.advise(questions))
    for question, answer in zip(questions[:20], together, strict=False):
        [alone] = given(loaded.advise([question]))
        assert probabilities(alone) == pytest.approx(probabilities(answer), abs=1e-5)
        assert alone.value == pytest.approx(answer.value, abs=1e-5)


def test_a_smaller_batch_sees_nothing_of_the_one_before(loaded: Network) -> None:
    first, second = some_questions(30, seed=1), some_questions(5, seed=2)
    alone = loaded.advise(second)
    loaded.advise(first)
    assert loaded.advise(second) == alone


def test_more_questions_than_a_pass_takes_are_all_answered(loaded: Network) -> None:
    questions = some_questions(50) * 100
    advice = given(loaded.advise(questions))
    assert len(advice) == 5000
    assert probabilities(advice[4999]) == pytest.approx(probabilities(advice[49]), abs=1e-5)


def test_no_question_has_no_answer(loaded: Network) -> None:
    assert loaded.advise([]) == []


def test_numbers_are_rounded_to_six_decimals(loaded: Network) -> None:
    for answer in given(loaded.advise(some_questions(20))):
        numbers = [p for p in answer.log_probs if p > -math.inf]
        assert all(round(number, 6) == number for number in (*numbers, answer.value, answer.uncertainty))


def test_uncertainty_is_not_entropy(loaded: Network) -> None:
    answers = given(loaded.advise(some_questions(200)))
    entropies = [-sum(p * math.log(p) for p in probabilities(answer) if p > 0.0) for answer in answers]
    uncertainties = [answer.uncertainty for answer in answers]
    assert all(0.0 <= u <= h + 1e-4 for u, h in zip(uncertainties, entropies, strict=True))
    assert not np.array_equal(np.argsort(entropies), np.argsort(uncertainties))
    assert max(uncertainties) > 10 * min(uncertainties)


@pytest.mark.parametrize("value", [1e9, -1e9, math.nan, math.inf])
def test_a_row_far_outside_the_training_range_falls_back_alone(loaded: Network, value: float) -> None:
    questions = some_questions(5)
    sound = loaded.advise(questions)
    advice = loaded.advise([*questions[:2], changed(questions[2], 8, value), *questions[3:]])
    assert isinstance(advice[2], str)
    assert "plateau_epochs" in advice[2]
    assert [row for place, row in enumerate(advice) if place != 2] == [
        row for place, row in enumerate(sound) if place != 2
    ]


def test_a_row_within_the_margin_is_answered(loaded: Network) -> None:
    [question] = some_questions(1)
    edge = 3.0 + 6.0 * OUT_OF_RANGE_MARGIN
    assert not isinstance(loaded.advise([changed(question, 8, edge)])[0], str)
    assert isinstance(loaded.advise([changed(question, 8, edge + 0.01)])[0], str)


ranges = st.builds(
    lambda lowest, width, scale: FeatureRange(lowest=lowest, highest=lowest + width, scale=scale),
    st.floats(-1e4, 1e4),
    st.floats(0.0, 1e4),
    st.floats(1e-2, 1e4),
)


@hypothesis.given(known=ranges, beyond=st.floats(0.0, 3.0), above=st.booleans())
def test_far_outside_is_more_than_the_width_and_more_than_the_scale(
    known: FeatureRange, beyond: float, above: bool
) -> None:
    largest = max(known.highest - known.lowest, known.scale)
    value = known.highest + beyond * largest if above else known.lowest - beyond * largest
    lowest, highest = limits([known])
    # Left open: where 32 bits cannot tell, which is more for a narrow range of large numbers.
    untold = 0.01 * largest + 2e-6 * (1.0 + abs(known.highest) + abs(known.lowest))
    if abs(beyond - 1.0) * largest > untold:
        assert (lowest[0] <= value <= highest[0]) == (beyond < 1.0)


@hypothesis.given(known=ranges, value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_nothing_is_far_for_a_feature_that_is_not_used(known: FeatureRange, value: float) -> None:
    lowest, highest = limits([known.model_copy(update={"used": False})])
    assert lowest[0] <= value <= highest[0]


def test_a_feature_that_never_varied_has_its_scale_to_move_in() -> None:
    lowest, highest = limits([FeatureRange(lowest=0.0, highest=0.0, scale=1.0)])
    assert lowest[0] <= -1.0 < 1.0 <= highest[0]
    assert highest[0] < 1.01


def test_a_feature_the_network_does_not_use_may_be_anything(loaded: Network) -> None:
    [question] = some_questions(1)
    [advice] = loaded.advise([changed(question, 1, 1e30)])
    assert not isinstance(advice, str)


@pytest.mark.parametrize(
    "answer",
    [(math.nan, 0.0, 0.0), (-math.inf, 0.0, 0.0), (-1.0, math.inf, 0.0), (-1.0, 0.0, math.nan)],
)
def test_an_answer_that_is_not_finite_falls_back_alone(
    artifact: Path, answer: tuple[float, float, float]
) -> None:
    advisor = Advisor(read_manifest(artifact), FixedRunner({1: answer}))
    advice = advisor.advise(some_questions(3))
    assert advice[1] == "the network's answer is not finite"
    assert not isinstance(advice[0], str)
    assert not isinstance(advice[2], str)


@pytest.mark.parametrize("log_prob", [1000.0, math.nan, math.inf])
def test_a_self_test_answered_with_what_is_no_log_probability_fails(artifact: Path, log_prob: float) -> None:
    advisor = Advisor(read_manifest(artifact), FixedRunner({0: (log_prob, 0.0, 0.0)}))
    with pytest.raises(ValueError, match="row 0: a probability differs"):
        advisor.verify()


def test_a_row_that_is_both_strange_and_not_finite_says_what_was_asked(artifact: Path) -> None:
    advisor = Advisor(read_manifest(artifact), FixedRunner({0: (math.nan, 0.0, 0.0)}))
    [question] = some_questions(1)
    [advice] = advisor.advise([changed(question, 8, 1e9)])
    assert isinstance(advice, str)
    assert "training range" in advice


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda q: q._replace(mask=(False,) * ACTIONS), "no legal action"),
        (lambda q: q._replace(mask=q.mask[:-1]), "6 flags for 7 actions"),
        (lambda q: q._replace(features=q.features[:-1]), "expected"),
    ],
)
def test_a_question_that_is_none_is_an_error_before_the_forward_pass(
    loaded: Network, spoil: Callable[[Question], Question], word: str
) -> None:
    questions = some_questions(3)
    with pytest.raises(ValueError, match=rf"question 1: .*{word}"):
        loaded.advise([questions[0], spoil(questions[1]), questions[2]])
    assert len(given(loaded.advise(questions))) == 3


def test_minus_zero_is_zero(artifact: Path) -> None:
    advisor = Advisor(read_manifest(artifact), FixedRunner({0: (-1e-9, -1e-9, 0.0)}))
    [answer] = given(advisor.advise(some_questions(1)))
    assert answer.log_probs[0] > -math.inf
    assert [math.copysign(1.0, number) for number in (answer.log_probs[0], answer.value)] == [1.0, 1.0]


def test_every_mask_there_is_comes_back_as_it_was_asked(artifact: Path) -> None:
    advisor = Advisor(read_manifest(artifact), FixedRunner({}))
    questions = [
        Question((0.0,) * FEATURES, tuple(bool(number >> bit & 1) for bit in range(ACTIONS)))
        for number in range(1, 2**ACTIONS)
    ]
    answers = given(advisor.advise(questions))
    assert [tuple(p > -math.inf for p in answer.log_probs) for answer in answers] == [
        q.mask for q in questions
    ]


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 8), (8, 8), (9, 32), (1025, 4096), (4096, 4096)])
def test_a_batch_is_padded_to_the_next_recorded_size(rows: int, size: int) -> None:
    assert padded(rows) == size


def test_a_batch_beyond_the_ladder_is_launched_as_it_is() -> None:
    assert padded(max(LADDER) + 1) == max(LADDER) + 1
