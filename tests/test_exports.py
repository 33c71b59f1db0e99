"""Plans for other tools, and plans from elsewhere: what each tool would make of them is simulated exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

import securetune.plan as plan_module
from securetune.cli import run_cli
from securetune.errors import ConfigError, PlanError
from securetune.export_command import export_plan
from securetune.exports import plan_schema, to_axolotl, to_llama_factory, to_mergekit, to_peft
from securetune.models.fingerprint import checkpoint_tensors, fingerprint
from securetune.models.module_map import ModuleMap
from securetune.plan import TuningPlan
from securetune.plan_source import read_plan
from securetune.training.param_groups import build_param_groups
from tiny import FAMILIES, FUSES_EXPERTS, tiny_llama, tiny_tokenizer
from tiny_trainers import swat

fused = pytest.mark.skipif(not FUSES_EXPERTS, reason="transformers 4 lists experts one by one")

PLAN = TuningPlan.from_multipliers({"1.q_proj": 1.0, "0.mlp": 0.5, "o_proj": 0.0}, outside=0.1)
pytestmark = pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing` is deprecated:FutureWarning")


def model(layers: int = 12) -> Any:
    """More than ten layers, so that `layers.1` is also the beginning of `layers.10`."""
    return FAMILIES["llama"](num_hidden_layers=layers)


def axolotl_rate(name: str, settings: dict[str, Any]) -> float:
    """Axolotl's rule: the first group of which some module name is a substring."""
    for group in settings["lr_groups"]:
        if any(module in name for module in group["modules"]):
            return float(group["lr"])
    return float(settings["learning_rate"])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_axolotl_gives_every_matrix_the_planned_rate(lora: bool) -> None:
    base = model()
    plan = TuningPlan.from_multipliers({"1.self_attn.q_proj": 1.0, "0.mlp.*_proj": 0.5, "o_proj": 0.0}, 0.1)
    settings = to_axolotl(plan, base, lr=1e-3)
    trained: Any = base
    if lora:
        trained = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    groups = build_param_groups(trained, plan, lr=1e-3)
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    for name, rate in rates.items():
        assert axolotl_rate(name, settings) == pytest.approx(rate), name
    assert len({round(rate, 9) for rate in rates.values()}) == 4
    # Control: without the trailing dot, layer 1 would take layers 10 and 11 along.
    loose = json.loads(json.dumps(settings).replace('layers.1.self_attn.q_proj."', 'layers.1"'))
    assert any(axolotl_rate(name, loose) != pytest.approx(rate) for name, rate in rates.items())


@fused
def test_axolotl_cannot_express_other_rates_for_norms_nor_phases_nor_experts() -> None:
    with pytest.raises(PlanError, match="gives norms and biases its base rate"):
        to_axolotl(TuningPlan.from_multipliers({"0.*": 0.5}), model(), lr=1e-3)
    with pytest.raises(PlanError, match="2 phases; Axolotl's lr_groups knows one"):
        to_axolotl(swat(0.5), model(), lr=1e-3)
    with pytest.raises(PlanError, match="does not match exactly one address"):
        to_axolotl(TuningPlan.from_multipliers({"experts": 0.5}), FAMILIES["mixtral"](), lr=1e-3)


def test_peft_adapts_the_chosen_modules_and_no_other() -> None:
    base = model()
    targets = to_peft(PLAN, base)
    assert targets == {"target_modules": ["model.layers.1.self_attn.q_proj"], "target_parameters": []}
    wider = to_peft(PLAN, base, at_least=0.5)
    wrapped = get_peft_model(base, LoraConfig(r=2, **wider))  # type: ignore[arg-type]
    modules = ModuleMap.of(wrapped)
    adapted = {str(a) for a in modules.addresses() if modules.trainable(a)}
    assert adapted == {"1.self_attn.q_proj", *(f"0.mlp.{name}_proj" for name in ("gate", "up", "down"))}
    with pytest.raises(PlanError, match=r"at least 2; the highest is 1"):
        to_peft(PLAN, model(), at_least=2.0)


@fused
def test_fused_experts_are_target_parameters() -> None:
    plan = TuningPlan.from_multipliers({"0.mlp.experts": 1.0}, outside=0.0)
    base = FAMILIES["mixtral"]()
    targets = to_peft(plan, base)
    assert set(targets["target_parameters"]) == {
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.down_proj",
    }
    with pytest.raises(PlanError, match="cannot adapt the fused expert parameter"):
        to_llama_factory(plan, base)


def test_llama_factory_gets_the_same_selection() -> None:
    settings = to_llama_factory(PLAN, model(), at_least=0.5)
    assert settings["finetuning_type"] == "lora"
    assert settings["lora_target"].split(",") == to_peft(PLAN, model(), at_least=0.5)["target_modules"]


def test_the_mergekit_recipe_restores_the_sensitive_modules() -> None:
    base, tuned = model(), model()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 1.0
    plan = TuningPlan.from_multipliers({"1.q_proj": 1.0, "10.mlp": 1.0}, outside=0.1)
    recipe = to_mergekit(plan, base, base="start", tuned="tuned")
    weights = recipe["models"][0]["parameters"]["weight"]
    robust = {"1.self_attn.q_proj", *(f"10.mlp.{name}_proj" for name in ("gate", "up", "down"))}
    modules = ModuleMap.of(base)
    for name, _ in base.named_parameters():
        # mergekit's rule: the first entry without a filter, or whose filter is a substring.
        value = next(e["value"] for e in weights if "filter" not in e or e["filter"] in name)
        assert value == (1.0 if str(modules.address_of(name)) in robust else 0.0), name
    assert (recipe["base_model"], recipe["models"][0]["model"]) == ("start", "tuned")
    with pytest.raises(PlanError, match="nothing to restore"):
        to_mergekit(TuningPlan.from_multipliers({}), base, base="a", tuned="b")


@fused
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_the_mergekit_recipe_restores_fused_experts(family: str, tmp_path: Path) -> None:
    start, tuned = FAMILIES[family](), FAMILIES[family](seed=1)
    plan = TuningPlan.from_multipliers({"self_attn": 1.0, "1.mlp.experts.down_proj*": 1.0}, outside=0.0)
    recipe = to_mergekit(plan, start, base="start", tuned="tuned")
    entries = recipe["models"][0]["parameters"]["weight"]
    tensors = []
    for model, name in ((start, "start"), (tuned, "tuned")):
        model.save_pretrained(tmp_path / name)
        tensors.append(dict(checkpoint_tensors(str(tmp_path / name))))
    weights = {n: next(e["value"] for e in entries if e.get("filter", "") in n) for n in tensors[0]}
    merged = {n: value + weights[n] * (tensors[1][n] - value) for n, value in tensors[0].items()}
    save_file(merged, tmp_path / "start" / "model.safetensors", metadata={"format": "pt"})
    restored = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "start").named_parameters())
    modules, changed = ModuleMap.of(start), dict(tuned.named_parameters())
    for name, value in start.named_parameters():
        address = str(modules.address_of(name))
        robust = "self_attn" in address or address.startswith("1.mlp.experts.down_proj")
        torch.testing.assert_close(restored[name], changed[name] if robust else value)


def test_a_recipe_that_mergekit_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(model: Any, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name.replace("model.layers", "blocks"): tensor}

    monkeypatch.setattr("securetune.exports.as_saved", renamed)
    with pytest.raises(PlanError, match=r"the tensor blocks\.1\.self_attn\.q_proj\.weight the weight 0"):
        to_mergekit(TuningPlan.from_multipliers({"1.q_proj": 1.0}, 0.1), model(), base="a", tuned="b")


def test_the_schema_names_what_a_plan_file_holds() -> None:
    schema, content = plan_schema(), swat(0.5).to_json()
    assert set(schema["required"]) == set(schema["properties"]) == content.keys()
    phase = schema["properties"]["phases"]["items"]
    assert set(phase["required"]) == set(phase["properties"]) == content["phases"][0].keys()
    assert schema["properties"]["version"]["const"] == content["version"]


def test_a_plan_of_an_earlier_version_is_migrated_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_freeze(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "freeze": False}

    monkeypatch.setitem(plan_module._MIGRATIONS, 0, add_freeze)
    monkeypatch.setitem(plan_module._MIGRATIONS, -1, lambda content: {**content, "provenance": {}})
    old = {k: v for k, v in PLAN.to_json().items() if k not in ("freeze", "provenance")} | {"version": -1}
    assert TuningPlan.from_json(old) == PLAN
    with pytest.raises(PlanError, match="plan version -2"):
        TuningPlan.from_json(old | {"version": -2})


def test_a_plan_is_read_from_a_file_a_directory_or_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PLAN.save(tmp_path / "plan.json")
    assert read_plan(path) == read_plan(tmp_path) == PLAN
    asked: list[tuple[str, str, str | None]] = []

    def download(name: str, file: str, revision: str | None = None) -> str:
        asked.append((name, file, revision))
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert read_plan("someone/plan@v2") == PLAN
    assert asked == [("someone/plan", "plan.json", "v2")]


def test_a_plan_that_is_nowhere_says_where_it_was_looked_for() -> None:
    with pytest.raises(PlanError, match=r"Cannot read plan .*missing\.json"):
        read_plan("missing.json")
    with pytest.raises(PlanError, match=r"no file, no directory with plan\.json, and as a hub"):
        read_plan("someone/nothing-here")


def test_a_plan_for_another_base_needs_an_explicit_override(tmp_path: Path) -> None:
    base = tiny_llama(tiny_tokenizer())
    own = TuningPlan(PLAN.phases, base=fingerprint(base))
    other = TuningPlan(PLAN.phases, base="0123456789abcdef")
    assert read_plan(own.save(tmp_path / "own.json"), base) == own
    path = other.save(tmp_path / "other.json")
    with pytest.raises(PlanError, match="made for base weights 0123456789abcdef"):
        read_plan(path, base)
    assert read_plan(path, base, any_base=True) == other


@pytest.fixture
def saved(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    directory = tmp_path / "model"
    tiny_llama(tokenizer).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_the_command_writes_yaml_and_json(saved: Path, tmp_path: Path) -> None:
    plan = TuningPlan.from_multipliers({"q_proj": 1.0}, 0.1).save(tmp_path / "plan.json")
    content, text = export_plan(str(plan), str(saved), to="axolotl", lr=1e-3)
    assert yaml.safe_load(text) == content
    export_plan(str(plan), str(saved), to="peft", out=tmp_path / "peft.json")
    targets = json.loads((tmp_path / "peft.json").read_text())["target_modules"]
    assert len(targets) == 4
    export_plan(str(plan), str(saved), to="mergekit", tuned="tuned", out=tmp_path / "merge.yaml")
    assert yaml.safe_load((tmp_path / "merge.yaml").read_text())["base_model"] == str(saved)
    assert json.loads(export_plan("-", None, to="schema")[1]) == plan_schema()


def test_the_command_line_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["export", "-", "--to", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == plan_schema()
    assert run_cli(["export", "plan.json", "--to", "trl"]) == 1
    assert "Valid: axolotl" in capsys.readouterr().err


def test_the_command_says_which_option_is_missing(tmp_path: Path) -> None:
    for options, message in (
        ({"to": "trl"}, "no such target"),
        ({"to": "peft"}, "needs the base model"),
        ({"to": "axolotl", "model": "m"}, "needs --lr"),
        ({"to": "mergekit", "model": "m"}, "needs --tuned"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_plan("plan.json", options.pop("model", None), **options)  # type: ignore[arg-type]
