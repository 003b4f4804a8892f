"""Policies by name: built in, and from distributions that are really installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tamiyo_core import (
    BUILT_IN,
    BrokenPolicyError,
    HeuristicPolicy,
    UnknownPolicyError,
    build_policy,
    installed_policies,
)
from tamiyo_core.rehearsal import Rehearsal
from tamiyo_leyline import RunConfig

PATIENT = '''
"""A policy that always waits."""

from tamiyo_core import Decision


class PatientPolicy:
    name = "patient"
    version = "7"

    def __init__(self, config):
        self.limit = config.heuristic.max_concurrent_seeds

    def initial(self):
        return None

    def decide(self, state, signals, context):
        live = [seed for seed in signals.seeds if seed.is_live]
        return None, tuple(Decision(context.layout.wait, "patience", 1.0, seed) for seed in (*live, None))

    def snapshot(self, state):
        return None

    def restore(self, data):
        return None


NOT_A_FACTORY = 42
'''
ENTRY_POINTS = """\
[tamiyo.policies]
patient = tamiyo_test_patient:PatientPolicy
heuristic = tamiyo_test_patient:PatientPolicy
misspelt = tamiyo_test_patient:NoSuchPolicy
absent = tamiyo_test_missing_module:Policy
number = tamiyo_test_patient:NOT_A_FACTORY
"""


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A small distribution with policies, installed where Python finds it."""
    (tmp_path / "tamiyo_test_patient.py").write_text(PATIENT)
    info = tmp_path / "tamiyo_test_patient-7.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tamiyo-test-patient\nVersion: 7.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("tamiyo_test_patient", None)


def chosen(name: str, version: str | None = None) -> RunConfig:
    return RunConfig.model_validate({"policy": {"name": name, "version": version}})


def test_the_heuristic_is_built_in_and_the_default() -> None:
    assert BUILT_IN == ("heuristic",)
    assert isinstance(build_policy(RunConfig()), HeuristicPolicy)


def test_an_unknown_policy_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UnknownPolicyError, match="unknown policy 'oracle'; valid: heuristic"):
        build_policy(chosen("oracle"))


def test_a_pinned_version_must_be_the_installed_one() -> None:
    version = HeuristicPolicy(RunConfig()).version
    assert build_policy(chosen("heuristic", version)).version == version
    with pytest.raises(UnknownPolicyError, match="policy heuristic has version"):
        build_policy(chosen("heuristic", "0"))


@pytest.mark.usefixtures("patient")
def test_an_installed_policy_decides_for_the_runs_that_name_it() -> None:
    run = Rehearsal({"policy": {"name": "patient", "version": "7"}, "tracker": {"plateau_smoothing": 0.0}})
    for epoch in range(12):
        step = run.report(epoch, val_accuracy=50.0)
    assert run.engine.policy.name == "patient"
    assert step.commands[0].reason == "patience"


@pytest.mark.usefixtures("patient")
def test_installed_policies_are_listed_after_those_built_in() -> None:
    assert installed_policies() == ("heuristic", "absent", "misspelt", "number", "patient")


@pytest.mark.usefixtures("patient")
def test_a_built_in_name_cannot_be_taken_over() -> None:
    assert isinstance(build_policy(chosen("heuristic")), HeuristicPolicy)


@pytest.mark.usefixtures("patient")
def test_the_version_of_an_installed_policy_is_pinned_too() -> None:
    with pytest.raises(UnknownPolicyError, match="policy patient has version 7, not '8'"):
        build_policy(chosen("patient", "8"))


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", ["misspelt", "absent", "number"])
def test_a_policy_that_does_not_load_says_what_to_repair(name: str) -> None:
    with pytest.raises(BrokenPolicyError, match=f"policy {name}"):
        build_policy(chosen(name))


@pytest.mark.usefixtures("patient")
def test_no_installed_policy_is_imported_for_a_run_that_names_another() -> None:
    build_policy(RunConfig())
    with pytest.raises(UnknownPolicyError):
        build_policy(chosen("oracle"))
    assert "tamiyo_test_patient" not in sys.modules
