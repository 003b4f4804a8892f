"""The registry: networks are loaded once, verified, and not tried again at every turn."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from tamiyo_core.policy import Question, RowAdvice
from tamiyo_leyline import PolicyChoice, RunConfig
from tamiyo_models.manifest import SelfTestRow
from tamiyo_service.errors import ModelRejectedError, NoArtifactError
from tamiyo_service.learned.artifacts import Artifact
from tamiyo_service.learned.registry import (
    FAILURE_STANDS_SECONDS,
    NETWORKS_KEPT,
    MissingPolicy,
    Registry,
)

from tests.service.artifacts import SHIPPED_POLICY, put_artifact, rewrite, truncate


class Seconds:
    """Seconds that rise when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def learned(version: str | None = SHIPPED_POLICY) -> RunConfig:
    return RunConfig(policy=PolicyChoice(name="learned", version=version))


def question(registry: Registry, version: str) -> tuple[Question, SelfTestRow]:
    """A question of the self-test of an artifact, and what is to be answered."""
    from tamiyo_models.artifact import read_manifest

    artifact = registry.named(version)
    assert artifact is not None
    row = read_manifest(artifact.directory).self_test.rows[0]
    return Question(row.features, row.mask), row


async def test_a_network_is_loaded_once_for_all_who_ask() -> None:
    registry = Registry(None, "cpu")
    sha256 = registry.policy(learned()).sha256
    assert registry.ready(sha256) is None
    networks = await asyncio.gather(*(registry.load(sha256) for _ in range(20)))
    assert {id(network) for network in networks} == {id(registry.ready(sha256))}


async def test_a_loaded_network_answers() -> None:
    registry = Registry(None, "auto")
    network = await registry.load(registry.policy(learned()).sha256)
    asked, expected = question(registry, SHIPPED_POLICY)
    (advice,) = network.advise([asked])
    assert isinstance(advice, RowAdvice)
    assert advice.value == pytest.approx(expected.value, abs=1e-3)


async def test_shadows_have_networks_of_their_own() -> None:
    registry = Registry(None, "cpu")
    sha256 = registry.policy(learned()).sha256
    own = await registry.load_for_shadows(sha256)
    assert registry.ready(sha256) is None
    assert await registry.load(sha256) is not own


@pytest.fixture
def crowded(tmp_path: Path) -> tuple[Registry, Seconds, list[str]]:
    """A registry of more artifacts than stay loaded, and their SHA-256s."""
    for number in range(NETWORKS_KEPT + 3):
        put_artifact(tmp_path, f"1.{number}")
    seconds = Seconds()
    registry = Registry(tmp_path, "cpu", clock=seconds)
    versions = [f"mine-1.{number}" for number in range(NETWORKS_KEPT + 3)]
    return registry, seconds, [registry.policy(learned(version)).sha256 for version in versions]


async def test_of_very_many_networks_those_nobody_wanted_for_a_day_are_let_go(
    crowded: tuple[Registry, Seconds, list[str]],
) -> None:
    registry, seconds, known = crowded
    for sha256 in known[:-1]:
        await registry.load(sha256)
    seconds.now += 23 * 3600
    assert registry.ready(known[0]) is not None
    assert all(registry.loaded_on(sha256) == "cpu" for sha256 in known[:-1])
    seconds.now += 3600
    await registry.load(known[-1])
    assert [registry.loaded_on(sha256) for sha256 in known[:4]] == ["cpu", None, None, None]
    assert all(registry.loaded_on(sha256) == "cpu" for sha256 in known[4:])
    # And back, when it is wanted again.
    assert (await registry.load(known[1])).sha256 == known[1]


async def test_of_very_many_networks_for_shadows_the_latest_stay(
    crowded: tuple[Registry, Seconds, list[str]],
) -> None:
    registry, seconds, known = crowded
    loaded = []
    for sha256 in known:
        seconds.now += 1
        loaded.append(await registry.load_for_shadows(sha256))
    assert await registry.load_for_shadows(known[-1]) is loaded[-1]
    assert await registry.load_for_shadows(known[3]) is loaded[3]
    assert await registry.load_for_shadows(known[2]) is not loaded[2]


async def test_a_network_that_cannot_be_loaded_is_tried_again_after_a_while(tmp_path: Path) -> None:
    seconds = Seconds()
    registry = Registry(tmp_path, "cpu", clock=seconds)
    place = put_artifact(tmp_path)
    sha256 = registry.policy(learned("mine-1.1.0")).sha256
    sound = shutil.copytree(place, tmp_path / "kept")
    truncate(place)
    with pytest.raises(ModelRejectedError, match="not here"):
        await registry.load(sha256)
    for path in place.iterdir():
        shutil.copy(sound / path.name, path)
    with pytest.raises(ModelRejectedError, match="not here"):
        await registry.load(sha256)
    seconds.now += FAILURE_STANDS_SECONDS
    assert (await registry.load(sha256)).sha256 == sha256


async def test_what_is_loaded_stays_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "cpu")
    place = put_artifact(tmp_path)
    network = await registry.load(registry.policy(learned("mine-1.1.0")).sha256)
    asked, _ = question(registry, "mine-1.1.0")
    before = network.advise([asked])
    truncate(place)
    assert await registry.load(network.sha256) is network
    assert network.advise([asked]) == before


async def test_a_version_keeps_the_identity_it_was_first_used_with(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "cpu")
    place = put_artifact(tmp_path)
    first = registry.policy(learned("mine-1.1.0")).sha256
    registry.remember([("mine-1.1.0", first)])
    rewrite(place, lambda manifest: manifest | {"description": "another"})
    await registry.look()
    policy = registry.policy(learned("mine-1.1.0"))
    assert policy.sha256 == first
    with pytest.raises(ModelRejectedError, match="changed in place"):
        await registry.load(policy.sha256)


async def test_a_stored_run_has_its_policy_without_the_artifact() -> None:
    registry = Registry(None, "cpu")
    registry.remember([("mine-1.1.0", "ab")])
    with pytest.raises(NoArtifactError):
        registry.policy(learned("mine-1.1.0"))
    policy = registry.stored_policy(learned("mine-1.1.0"))
    assert (policy.name, policy.version, policy.sha256) == ("learned", "mine-1.1.0", "ab")
    with pytest.raises(ModelRejectedError, match=r"mine-1\.1\.0 is not here any more"):
        await registry.load(policy.sha256)


async def test_what_was_seen_once_is_asked_in_its_own_terms_after_it_is_gone(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "cpu")
    place = put_artifact(tmp_path)
    (artifact,) = [one for one in await registry.look() if one.name == "mine"]
    assert isinstance(artifact, Artifact)
    assert not registry.knows(learned("mine-1.1.0")), "nobody has told what it was when it was first used"
    registry.remember([("mine-1.1.0", artifact.sha256)])
    before = registry.stored_policy(learned("mine-1.1.0"))
    shutil.rmtree(place)
    await registry.look()
    after = registry.stored_policy(learned("mine-1.1.0"))
    assert not isinstance(after, MissingPolicy)
    assert after.sha256 == before.sha256 == artifact.sha256


async def test_a_device_that_is_not_there_is_told_of() -> None:
    registry = Registry(None, "cuda:7")
    with pytest.raises(ModelRejectedError, match="cuda:7"):
        await registry.load(registry.policy(learned()).sha256)


def test_without_a_version_the_latest_of_the_package_decides(tmp_path: Path) -> None:
    put_artifact(tmp_path, "9.9.9")
    registry = Registry(tmp_path, "cpu")
    assert registry.policy(learned(None)).version == SHIPPED_POLICY
