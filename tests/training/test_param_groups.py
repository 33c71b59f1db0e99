from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaForCausalLM

from securetune.errors import PlanError
from securetune.models.module_map import ModuleMap
from securetune.plan import Phase, TuningPlan
from securetune.training.param_groups import build_param_groups, group_name, match_plan
from tiny import FAMILIES

SOME_FAMILIES = ("deepseek_v3", "gemma3", "gpt2", "gpt_neox", "llama", "mixtral", "opt", "phi3")
some_families = pytest.mark.parametrize("family", SOME_FAMILIES)
# PEFT announces the key patterns of its own Mixtral conversion as unused.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys"),
    pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]


def adapted(model: nn.Module, targets: str | list[str] = "all-linear", **changes: Any) -> nn.Module:
    wrapped: nn.Module = get_peft_model(model, LoraConfig(r=2, target_modules=targets, **changes))  # type: ignore[arg-type]
    return wrapped


def placed(groups: list[dict[str, Any]]) -> list[str]:
    return [name for group in groups for name, _ in group["params"]]


def trainable(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def rate_of(groups: list[dict[str, Any]], name: str) -> float:
    (rate,) = {group["lr"] for group in groups if name in placed([group])}
    return float(rate)


@some_families
@pytest.mark.parametrize("is_adapted", [False, True], ids=["full", "lora"])
def test_groups_partition_the_trainable_parameters(family: str, is_adapted: bool) -> None:
    model = FAMILIES[family]()
    if is_adapted:
        model = adapted(model)
    plan = TuningPlan.from_multipliers({"0.*": 0.5, "1-2.*": 0.25}, outside=2.0)
    groups = build_param_groups(model, plan, lr=0.1)
    assert sorted(placed(groups)) == sorted(trainable(model))
    assert len(placed(groups)) == len(set(placed(groups)))
    modules = ModuleMap.of(model)
    expected = {None: 0.2, 0: 0.05, 1: 0.025, 2: 0.025}
    for name in trainable(model):
        address = modules.address_of(name)
        assert rate_of(groups, name) == pytest.approx(expected[address.layer if address else None])


@some_families
def test_a_plan_means_the_same_before_and_after_peft(family: str) -> None:
    plan = TuningPlan.from_multipliers({"0,2.*": 0.1}, outside=1.0)
    model = FAMILIES[family]()
    before = match_plan(model, plan)
    plain = ModuleMap.of(model)
    by_address = {plain.address_of(name): values for name, values in before.multipliers.items()}
    model = adapted(model)
    after, wrapped = match_plan(model, plan), ModuleMap.of(model)
    assert before.addresses == after.addresses
    for name, values in after.multipliers.items():
        assert values == by_address[wrapped.address_of(name)]


def test_norms_and_biases_are_part_of_their_layer() -> None:
    model = FAMILIES["gpt2"]()
    groups = build_param_groups(model, TuningPlan.from_multipliers({"1.*": 0.5}), lr=1.0)
    inside = [name for name in trainable(model) if rate_of(groups, name) == 0.5]
    assert sorted(inside) == sorted(name for name in trainable(model) if ".h.1." in name)
    assert any(name.endswith("ln_1.bias") for name in inside)
    assert any(name.endswith("c_attn.bias") for name in inside)
    narrow = build_param_groups(model, TuningPlan.from_multipliers({"1.attn.c_attn": 0.5}), lr=1.0)
    named = [name for name in trainable(model) if rate_of(narrow, name) == 0.5]
    assert named == ["transformer.h.1.attn.c_attn.weight", "transformer.h.1.attn.c_attn.bias"]


def test_outside_is_the_rate_of_all_that_no_pattern_matches(tiny_model: LlamaForCausalLM) -> None:
    plan = TuningPlan.from_multipliers({"mlp": 1.0}, outside=0.125)
    groups = build_param_groups(tiny_model, plan, lr=1.0)
    for name in trainable(tiny_model):
        assert rate_of(groups, name) == (1.0 if ".mlp." in name else 0.125)
    assert rate_of(groups, "model.embed_tokens.weight") == 0.125
    assert rate_of(groups, "model.norm.weight") == 0.125


@pytest.mark.parametrize("pattern", ["qproj", "9.mlp", "0-3.mamba", "Q_PROJ"])
def test_a_pattern_that_matches_no_address_is_an_error(pattern: str, tiny_model: LlamaForCausalLM) -> None:
    assert match_plan(tiny_model, TuningPlan.from_multipliers({"q_proj": 1.0})).addresses == 4
    plan = TuningPlan.from_multipliers({"q_proj": 1.0, pattern: 0.5})
    with pytest.raises(PlanError, match=f"'{pattern}' matches nothing"):
        match_plan(tiny_model, plan)
    with pytest.raises(PlanError, match=f"'{pattern}' matches nothing"):
        build_param_groups(tiny_model, plan, lr=1.0)


def test_a_pattern_that_is_shadowed_by_an_earlier_one_is_listed(tiny_model: LlamaForCausalLM) -> None:
    match = match_plan(tiny_model, TuningPlan.from_multipliers({"*": 1.0, "q_proj": 0.5}))
    assert match.untrained_patterns == () and match.shadowed_patterns == ("q_proj",)
    partly = match_plan(tiny_model, TuningPlan.from_multipliers({"0-1.*": 1.0, "q_proj": 0.5}))
    assert partly.shadowed_patterns == ()
    assert {group.name for group in match.groups} == {"x1"}


def test_a_pattern_that_matches_only_untrained_weights_is_listed(tiny_model: LlamaForCausalLM) -> None:
    model = adapted(tiny_model, ["q_proj", "v_proj"])
    plan = TuningPlan.from_multipliers({"q_proj": 1.0, "up_proj": 0.5, "input_layernorm": 0.1}, outside=0.3)
    match = match_plan(model, plan)
    assert match.untrained_patterns == ("up_proj", "input_layernorm")
    assert [(group.name, group.tensors) for group in match.groups] == [("x1", 8), ("x0.3", 8)]


def test_a_plan_that_touches_nothing_that_is_trained_is_an_error(tiny_model: LlamaForCausalLM) -> None:
    model = adapted(tiny_model, ["q_proj"])
    match_plan(model, TuningPlan.from_multipliers({"q_proj": 0.1}))
    for freeze in (False, True):
        plan = TuningPlan.from_multipliers({"mlp": 0.1}, freeze=freeze)
        with pytest.raises(PlanError, match="touches no trainable parameter"):
            match_plan(model, plan)


def test_a_plan_of_zeros_and_a_model_without_gradients_are_errors(tiny_model: LlamaForCausalLM) -> None:
    with pytest.raises(PlanError, match="nothing would be trained"):
        match_plan(tiny_model, TuningPlan.from_multipliers({"q_proj": 0.0}, outside=0.0))
    tiny_model.requires_grad_(False)
    with pytest.raises(PlanError, match="no trainable parameter"):
        match_plan(tiny_model, TuningPlan.from_multipliers({}, 1.0))


def test_a_plan_without_patterns_is_one_uniform_rate(tiny_model: LlamaForCausalLM) -> None:
    (group,) = build_param_groups(tiny_model, TuningPlan.from_multipliers({}, 0.3), lr=1e-3, weight_decay=0.1)
    assert group["lr"] == pytest.approx(3e-4)
    assert group["weight_decay"] == 0.1
    assert placed([group]) == trainable(tiny_model)


def test_the_fastest_group_comes_first_and_names_tell_groups_apart(tiny_model: LlamaForCausalLM) -> None:
    close = {"q_proj": 0.1234567, "k_proj": 0.12345671, "v_proj": 0.01}
    plan = TuningPlan.from_multipliers(close, outside=0.5)
    match = match_plan(tiny_model, plan)
    names = [group.name for group in match.groups]
    assert names == ["x0.5", "x0.12345671", "x0.1234567", "x0.01"]
    assert sum(group.parameters for group in match.groups) == tiny_model.num_parameters()
    assert group_name((0.0, 1.0)) == "x0-x1"


def test_weights_that_do_not_decay_have_groups_of_their_own(tiny_model: LlamaForCausalLM) -> None:
    decay = {name for name in trainable(tiny_model) if "norm" not in name}
    plan = TuningPlan.from_multipliers({"0-1.*": 0.5})
    groups = build_param_groups(tiny_model, plan, lr=1.0, weight_decay=0.1, decay_names=decay)
    assert [group["group_name"] for group in groups] == ["x1", "x1/no-decay", "x0.5", "x0.5/no-decay"]
    for group in groups:
        assert (group["weight_decay"] == 0.1) is all(name in decay for name in placed([group]))
    torch.optim.AdamW(groups, lr=1.0)


def test_several_phases_start_at_the_base_rate_and_carry_their_multipliers(
    tiny_model: LlamaForCausalLM,
) -> None:
    plan = TuningPlan((Phase("a", 0.5, {"mlp": 1.0}, 0.0), Phase("b", 1.0, {"q_proj": 0.5}, 1.0)))
    groups = build_param_groups(tiny_model, plan, lr=0.1)
    assert {group["lr"] for group in groups} == {0.1}
    rates = {name: group["multipliers"] for group in groups for name in placed([group])}
    assert rates["model.layers.0.mlp.up_proj.weight"] == [1.0, 1.0]
    assert rates["model.layers.0.self_attn.q_proj.weight"] == [0.0, 0.5]
    assert rates["model.embed_tokens.weight"] == [0.0, 1.0]


def test_tied_weights_are_placed_once() -> None:
    model = FAMILIES["llama"](tie_word_embeddings=True)
    groups = build_param_groups(model, TuningPlan.from_multipliers({"mlp": 0.5}), lr=1.0)
    assert sum(parameter.numel() for group in groups for _, parameter in group["params"]) == sum(
        parameter.numel() for parameter in model.parameters()
    )
    assert sum(name.endswith(("embed_tokens.weight", "lm_head.weight")) for name in placed(groups)) == 1
