"""A loop of your own with accelerate: python examples/accelerate_loop.py MODEL plan.json OUT [STEPS]."""

from __future__ import annotations

import itertools
import sys

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from plain_trainer import encoded
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq, get_linear_schedule_with_warmup

import securetune


def main(model_id: str, plan_source: str, out: str, steps: str = "20") -> None:
    """Train and save an adapter."""
    total, rate = int(steps), 5e-4
    accelerator = Accelerator()
    model, tokenizer = securetune.load_model(model_id)
    plan = securetune.read_plan(plan_source, model)
    tokenizer.padding_side = "right"
    model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW(securetune.build_param_groups(model, plan, lr=rate), lr=rate)
    scheduler = get_linear_schedule_with_warmup(optimizer, 1, total)
    securetune.add_phases_(scheduler, plan, total)
    securetune.verify_steps(optimizer, plan, lr=rate, scheduler=scheduler, model=model)
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)
    loader = DataLoader(encoded(tokenizer), batch_size=2, shuffle=True, collate_fn=collator)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    model.train()
    for batch in itertools.islice(itertools.cycle(loader), total):
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        # The scheduler is not prepared: accelerate would step it once per process.
        scheduler.step()
        optimizer.zero_grad()
    securetune.finish(optimizer)
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
