from __future__ import annotations

import pytest
from pydantic import ValidationError
from tamiyo_leyline import TOPOLOGIES, ActionKind, Blueprint, SeedStage, Topology, action_layout

PARAMETERS = {
    "cnn": {"norm": 100, "attention": 2_000, "depthwise": 4_800, "conv_enhance": 74_000},
    "transformer": {"norm": 800, "lora": 6_000, "attention": 50_000, "mlp": 1_200_000},
}
LIVE = ["GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_built_in_topologies_are_ordered_by_parameter_estimate(name: str) -> None:
    blueprints = {blueprint.name: blueprint.parameters for blueprint in TOPOLOGIES[name].blueprints}
    assert list(blueprints.items()) == list(PARAMETERS[name].items())


def test_action_layout_is_wait_germinations_fossilize_cull() -> None:
    layout = TOPOLOGIES["cnn"].layout
    assert layout.names == (
        "WAIT",
        "GERMINATE_NORM",
        "GERMINATE_ATTENTION",
        "GERMINATE_DEPTHWISE",
        "GERMINATE_CONV_ENHANCE",
        "FOSSILIZE",
        "CULL",
    )
    assert [action.number for action in layout.actions] == list(range(7))
    assert [action.kind for action in layout.actions] == [
        ActionKind.WAIT,
        *[ActionKind.GERMINATE] * 4,
        ActionKind.FOSSILIZE,
        ActionKind.CULL,
    ]
    assert [action.blueprint_id for action in layout.actions] == [None, *PARAMETERS["cnn"], None, None]


@pytest.mark.parametrize("count", [1, 3, 64])
def test_layout_of_n_blueprints_has_n_plus_three_actions(count: int) -> None:
    layout = action_layout(tuple(f"b{index}" for index in range(count)))
    assert len(layout.actions) == count + 3
    assert (layout.wait.number, layout.fossilize.number, layout.cull.number) == (0, count + 1, count + 2)


def test_actions_are_found_by_blueprint_and_by_name() -> None:
    layout = TOPOLOGIES["transformer"].layout
    assert layout.germinate("lora") == layout.named("GERMINATE_LORA")
    assert layout.named("CULL") is layout.cull


def test_unknown_action_is_refused_with_the_valid_names() -> None:
    with pytest.raises(ValueError, match=r"unknown action 'PRUNE'; valid: WAIT, GERMINATE_NORM, .*CULL"):
        TOPOLOGIES["cnn"].layout.named("PRUNE")
    with pytest.raises(ValueError, match="not in tuple"):
        TOPOLOGIES["cnn"].layout.germinate("mlp")


@pytest.mark.parametrize("stage", [None, *SeedStage])
@pytest.mark.parametrize("germination_open", [False, True])
def test_mask_of_every_stage(stage: SeedStage | None, germination_open: bool) -> None:
    live = stage is not None and stage.name in LIVE
    mask = dict(
        zip(
            TOPOLOGIES["cnn"].layout.names,
            TOPOLOGIES["cnn"].layout.mask(stage, germination_open=germination_open),
            strict=True,
        )
    )
    assert mask.pop("WAIT") is True
    assert mask.pop("FOSSILIZE") is (stage is SeedStage.PROBATIONARY)
    assert mask.pop("CULL") is live
    assert set(mask.values()) == {germination_open and not live}


def test_names_are_folded_to_lower_case() -> None:
    topology = Topology(name="MyNet", blueprints=(Blueprint(name="Wide_Conv", parameters=1),))
    assert topology.name == "mynet"
    assert topology.layout.named("GERMINATE_WIDE_CONV").blueprint_id == "wide_conv"


def test_names_that_fold_to_the_same_are_refused() -> None:
    twice = [{"name": "norm", "parameters": 1}, {"name": "NORM", "parameters": 2}]
    with pytest.raises(ValidationError, match="blueprints repeat the name norm"):
        Topology.model_validate({"name": "mine", "blueprints": twice})


def test_layouts_of_the_same_blueprints_are_shared() -> None:
    assert action_layout(("a", "b")) is action_layout(("a", "b"))
