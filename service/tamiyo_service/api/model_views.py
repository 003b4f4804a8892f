"""Models and policies as they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tamiyo_core import BUILT_IN, UnknownPolicyError, build_policy, installed_policies
from tamiyo_core.learned import LEARNED
from tamiyo_leyline import PolicyChoice, RunConfig

from tamiyo_service.api.model_schemas import ActivationView, ModelState, ModelView, PolicyView
from tamiyo_service.clock import from_micros
from tamiyo_service.learned.artifacts import Artifact, Found, Refused
from tamiyo_service.learned.registry import Registry
from tamiyo_service.store.models import ActivationRow


def activation_view(row: ActivationRow) -> ActivationView:
    """An activation."""
    return ActivationView(
        topology=row.topology,
        model=f"{row.name}-{row.version}",
        sha256=row.sha256,
        at=from_micros(row.at),
        reason=row.reason,
        previous=row.previous,
    )


def model_views(
    found: Sequence[Found],
    registry: Registry,
    active: Mapping[str, Artifact],
    history: Sequence[ActivationRow],
) -> Iterator[ModelView]:
    """Models, by name and version.

    Args:
        found: everything there is.
        registry: tells what is loaded.
        active: by topology.
        history: activations, the newest first.
    """
    last: dict[tuple[str, str], ActivationRow] = {}
    for row in history:
        last.setdefault((row.name, row.version), row)
    for one in sorted(found, key=lambda one: (one.name, one.version)):
        row_of_one = last.get((one.name, one.version))
        activation = None if row_of_one is None else activation_view(row_of_one)
        if isinstance(one, Refused):
            yield _refused(one, activation)
        else:
            yield _sound(one, registry, one in active.values(), activation)


def policy_views(
    registry: Registry, active: Mapping[str, Artifact], default_policy: str
) -> Iterator[PolicyView]:
    """Policies: the heuristic, the learned one, those of other distributions.

    Args:
        registry: knows the models.
        active: by topology.
        default_policy: of runs that name none.
    """
    for name in installed_policies():
        if name == LEARNED:
            continue
        version, fault = _version(name)
        yield PolicyView(
            name=name,
            origin="tamiyo" if name in BUILT_IN else "installed",
            default=name == default_policy,
            versions=() if version is None else (version,),
            active={} if version is None else {"*": version},
            fault=fault,
        )
    versions = registry.policy_versions()
    yield PolicyView(
        name=LEARNED,
        origin="tamiyo",
        default=default_policy == LEARNED,
        versions=tuple(versions),
        active={topology: artifact.policy_version for topology, artifact in active.items()},
        fault=None if versions else "there is no artifact; put one into TAMIYO_MODELS",
    )


def _version(name: str) -> tuple[str | None, str | None]:
    """The version of a policy, or why it has none."""
    try:
        policy = build_policy(RunConfig(policy=PolicyChoice(name=name)))
    except UnknownPolicyError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - what another distribution brings is only looked at here
        return None, f"it does not begin: {type(error).__name__}: {error}"
    return policy.version, None


def _refused(one: Refused, activation: ActivationView | None) -> ModelView:
    return ModelView(
        name=one.name,
        version=one.version,
        policy_version=f"{one.name}-{one.version}",
        state=ModelState.REFUSED,
        reason=one.reason,
        loaded_on=None,
        shipped=one.shipped,
        topology=None,
        blueprints=(),
        observation=None,
        sha256=None,
        about={},
        activation=activation,
    )


def _sound(one: Artifact, registry: Registry, active: bool, activation: ActivationView | None) -> ModelView:
    loaded_on = registry.loaded_on(one.sha256)
    first = registry.first_used(one.policy_version)
    state = ModelState.AVAILABLE if loaded_on is None else ModelState.LOADED
    reason = None
    if first is not None and first != one.sha256:
        state, reason = ModelState.REFUSED, registry.changed_in_place(one, first)
    elif active:
        state = ModelState.ACTIVE
    return ModelView(
        name=one.name,
        version=one.version,
        policy_version=one.policy_version,
        state=state,
        reason=reason,
        loaded_on=loaded_on,
        shipped=one.shipped,
        topology=one.topology,
        blueprints=one.blueprints,
        observation=one.observation,
        sha256=one.sha256,
        about=dict(one.about),
        activation=activation,
    )
