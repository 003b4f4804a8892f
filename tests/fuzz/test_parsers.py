"""Leyline's parsers refuse any bytes in words, or take and give them back; the same bytes every time."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.parsers import SAMPLES, TARGETS

MUTATIONS = 400


@pytest.mark.parametrize("name", TARGETS)
def test_samples_are_taken(name: str) -> None:
    TARGETS[name](json.dumps(SAMPLES[name]).encode())


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_documents_are_refused_in_words_or_given_back(name: str) -> None:
    random = Random(20260131)
    for _ in range(MUTATIONS):
        TARGETS[name](mutated(SAMPLES[name], random))


@pytest.mark.parametrize("name", TARGETS)
@settings(derandomize=True, max_examples=100, deadline=None, database=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_in_words_or_given_back(name: str, data: bytes) -> None:
    TARGETS[name](data)
