"""What each process runs: `ddp OUT BATCH` and `resume OUT` (accelerate), `fsdp2 OUT` (torchrun)."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors.torch import save_file
from test_safety_callback import PROMPTS, probe_of

from securetune.errors import PlanError
from securetune.files import write_json
from securetune.plan import TuningPlan
from securetune.training.attach import attach
from securetune.training.param_groups import build_param_groups
from securetune.training.plan_optimizer import finish, verify_steps
from securetune.training.safety_callback import SafetyCallback
from tiny import tiny_llama, tiny_tokenizer
from tiny_trainers import RATE, SLOW_MLP, STILL_MLP, Make, trained


def ddp(out: Path, batch: int) -> None:
    """Train under DDP (or alone) with a global batch of 4 and save the weights."""
    trainer = Make(out, tiny_tokenizer())(per_device_train_batch_size=batch)
    safety = {"tokenizer": tiny_tokenizer(), "prompts": PROMPTS, "every": 2, "asr_prompts": 0}
    trainer.add_callback(SafetyCallback(trainer, probe_of(trainer.model), **safety))
    attach(trainer, SLOW_MLP).train()
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        tensors = {name: value.detach().contiguous() for name, value in model.named_parameters()}
        save_file(tensors, out / "weights.safetensors")
        content = {"processes": trainer.args.world_size, "verified": trainer.securetune_guard.verified}
        for key in ("lr/x0.1", "safety/drift"):
            content[key] = [entry[key] for entry in trainer.state.log_history if key in entry]
        write_json(out / "ddp.json", content)


def resume(out: Path) -> None:
    """Resume a DDP run in the middle, under its own plan and under another one."""
    make = Make(out / "run", tiny_tokenizer())

    def built(plan: TuningPlan) -> Any:
        saves = {"save_strategy": "steps", "save_steps": 2}
        return attach(make(per_device_train_batch_size=2, **saves), plan)

    checkpoint = str(out / "run" / "checkpoint-2")
    whole = trained(built(SLOW_MLP))
    again = built(SLOW_MLP)
    resumed = trained(again, resume_from_checkpoint=checkpoint)
    gap = max(float((whole[name] - resumed[name]).abs().max()) for name in whole)
    try:
        trained(built(STILL_MLP), resume_from_checkpoint=checkpoint)
        refused = "not refused"
    except PlanError as error:
        refused = f"PlanError: {error}"
    verified = [entry["step"] for entry in again.securetune_guard.verified]
    steps = again.state.global_step
    content = {"gap": gap, "refused": refused, "verified": verified, "steps": steps}
    write_json(out / f"resume.{again.args.process_index}.json", content)


def full(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().full_tensor().clone() for name, value in model.named_parameters()}


def sharded() -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = tiny_llama(tiny_tokenizer()).train()
    mesh = init_device_mesh("cpu", (2,))
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def planned(model: Any, plan: TuningPlan) -> Any:
    optimizer = torch.optim.AdamW(build_param_groups(model, plan, lr=RATE), lr=RATE)
    return verify_steps(optimizer, plan, lr=RATE, model=model)


def step(model: Any, optimizer: Any) -> None:
    ids = torch.arange(3, 27).reshape(2, 12)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def fsdp2(out: Path) -> None:
    """Groups, zero group, save and load on a model that `fully_shard` has split over two processes."""
    from torch.distributed.checkpoint import state_dict as checkpoints

    torch.distributed.init_process_group("gloo")
    model = sharded()
    before = full(model)
    optimizer = planned(model, STILL_MLP)
    for _ in range(3):
        step(model, optimizer)
    after = full(model)
    options = checkpoints.StateDictOptions(full_state_dict=True)
    saved = checkpoints.get_optimizer_state_dict(model, optimizer, options=options)
    weights = checkpoints.get_model_state_dict(model, options=options)

    again = sharded()
    checkpoints.set_model_state_dict(again, copy.deepcopy(weights), options=options)
    resumed = planned(again, STILL_MLP)
    checkpoints.set_optimizer_state_dict(again, resumed, copy.deepcopy(saved), options=options)
    for one, two in ((model, optimizer), (again, resumed)):
        step(one, two)
    gap = max(float((a - b).abs().max()) for a, b in zip(full(model).values(), full(again).values()))
    other = sharded()
    try:
        optimizer_of_another_plan = planned(other, SLOW_MLP)
        checkpoints.set_optimizer_state_dict(other, optimizer_of_another_plan, saved, options=options)
        refused = "not refused"
    except PlanError as error:
        refused = f"PlanError: {error}"
    if torch.distributed.get_rank() == 0:
        moved = [name for name in before if not torch.equal(before[name], after[name])]
        groups = [group["group_name"] for group in resumed.param_groups]
        content = {"moved": moved, "names": list(before), "groups": groups, "gap": gap}
        write_json(out / "fsdp2.json", content | {"verified": finish(optimizer), "refused": refused})
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "ddp":
        ddp(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1] == "resume":
        resume(Path(sys.argv[2]))
    else:
        fsdp2(Path(sys.argv[2]))
