"""PlanCheck: compares one optimizer with a plan, step by step. Framework-free."""

from __future__ import annotations

import logging
from typing import Any

import torch

from securetune.errors import PlanNotAppliedError
from securetune.plan import TuningPlan
from securetune.training.coverage import check_all_trained, check_coverage, check_trainable
from securetune.training.group_norms import gradient_norm, update_norm
from securetune.training.movement import (
    LOST,
    NOTABLE,
    Before,
    Moved,
    check_movement,
    check_ratios,
    rule_of,
    sample,
)
from securetune.training.rates import checked_rates
from securetune.training.schedule import phase_at, phase_steps

log = logging.getLogger("securetune")

_FOLLOWED = 8
"""Steps for which tensors without a gradient at the verified step (LoRA's A, idle experts) are followed."""
_ENOUGH = 3
"""Of these, steps after which a group without any gradient is an error where a phase or the run ends."""
_LOOK = 10
"""The whole model is walked through at so many first steps, and at every so many later on."""


class PlanCheck:
    """Compares the rates with the plan at every step, and the movement of the weights with the rates.

    Movement is compared at the first step with a positive rate, after each change of phase, and at the
    first step after resuming. A tensor that had no gradient at that step is compared when it first has one.
    """

    def __init__(self, plan: TuningPlan, base_rate: float) -> None:
        self.plan = plan
        self.base_rate = base_rate
        self.verified: list[dict[str, Any]] = []
        """One entry per verified step: step, phase, and rate and movement of each group."""
        self.rates: dict[str, float] = {}
        """The rate of each group at the latest optimizer step."""
        self.norms: dict[str, float] = {}
        """`grad_norm/<group>` (after clipping) and `update_norm/<group>` of the latest measured step."""
        self._groups: dict[str, tuple[float, ...]] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._total = 0
        self.has_verified = False
        """Whether a step of this training run was verified."""
        self._phase: int | None = None
        self._unseen: set[int] | None = None
        self._moved: set[int] = set()
        self._follow = 0
        self._before: dict[int, Before] = {}
        self._samples: dict[int, torch.Tensor] = {}
        self._steps: float | None = None
        self._optimizer: Any = None
        self._looks = 0
        self._still: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        """What has the multiplier 0 in this phase: name, tensor, and its sample when the phase began."""

    def expect(self, optimizer: Any) -> None:
        """Remember the groups of the optimizer that was built from the plan."""
        groups = optimizer.param_groups
        self._groups = {group["group_name"]: tuple(group["multipliers"]) for group in groups}
        self._members = {group["group_name"]: tuple(group.get("param_names", ())) for group in groups}

    def expect_schedule(self, total: int) -> None:
        """Remember the number of optimizer steps."""
        self._total = total

    def begin(self) -> None:
        """Start a training run: whatever was verified in an earlier one is verified again."""
        self.has_verified = False
        self._phase, self._unseen, self._before, self._samples = None, None, {}, {}
        self.rates, self._still = {}, []

    def end(self) -> None:
        """Check at the end what no single step shows.

        Raises:
            PlanNotAppliedError: weights at multiplier 0 moved, or no step of the last phase was verified.
        """
        self._check_still()
        self._check_idle()
        if self._unseen is None and any(self.rates.values()):
            raise PlanNotAppliedError(
                "All steps of the last phase were skipped by the loss scaler, or the optimizer made none: "
                "the plan was not applied there. Train longer, or use bf16 or float32."
            )

    def check_groups(self, optimizer: Any) -> None:
        """Check that an optimizer holds the plan's groups, with their members and multipliers.

        Raises:
            PlanNotAppliedError: it does not.
        """
        groups = getattr(optimizer, "param_groups", [])
        found = [group.get("group_name") for group in groups]
        if found != list(self._groups):
            planned = list(self._groups) or "never built: it was set on the trainer"
            raise PlanNotAppliedError(
                f"The optimizer in use ({type(optimizer).__name__}) has the groups {found}, the plan's are "
                f"{planned}; something replaced the optimizer after `attach`. Use `optim=` or "
                "`optimizer_cls_and_kwargs=` to choose one."
            )
        for group in groups:
            name = group["group_name"]
            members = tuple(group.get("param_names", self._members[name]))
            if tuple(group["multipliers"]) != self._groups[name] or members != self._members[name]:
                raise PlanNotAppliedError(
                    f"Group {name} does not hold the parameters or multipliers that the plan gave it: a "
                    "checkpoint of another plan was loaded. Resume with the plan of the checkpoint."
                )
            if group.get("base_rate", self.base_rate) != self.base_rate:
                raise PlanNotAppliedError(
                    f"Group {name} has the base rate {group['base_rate']:.3g} of a checkpoint, this run's is "
                    f"{self.base_rate:.3g}: the old one would win. Start a new run from its weights."
                )
            ends = phase_steps(self.plan, self._total) if self._total and len(self.plan.phases) > 1 else None
            if ends is not None and group.get("phase_steps", ends) != ends:
                raise PlanNotAppliedError(
                    f"The phases of group {name} end with the steps {group['phase_steps']} of a checkpoint, "
                    f"this run's with {ends}: it has another number of steps, and the phases would move. "
                    "Resume with the same number, or start a new run from its weights."
                )

    def check_rates(self, optimizer: Any, scheduler: Any, step: int) -> None:
        """Check the rates alone; see `before_step`."""
        phase = phase_at(self.plan, step, self._total) if self._total else 0
        if phase != self._phase:
            self._check_idle()
        wanted = {name: values[phase] for name, values in self._groups.items()}
        self.rates = checked_rates(optimizer, scheduler, wanted, self.base_rate)
        if phase != self._phase:
            self._phase, self._unseen, self._follow = phase, None, _FOLLOWED
            self._moved.clear()

    def accept_rates(self, step: int) -> None:
        """Record rates whose effect on the weights cannot be read, once a phase."""
        if self._unseen is None and self._phase is not None and any(self.rates.values()):
            groups = {name: {"rate": rate} for name, rate in self.rates.items()}
            phase = self.plan.phases[self._phase].name
            self.verified.append({"step": step + 1, "phase": phase, "groups": groups, "weights": False})
            self._unseen, self.has_verified = set(), True

    def before_step(
        self,
        optimizer: Any,
        scheduler: Any,
        step: int,
        *,
        model: Any = None,
        measure: bool = False,
        is_last: bool = False,
    ) -> None:
        """Check the rates; copy a sample of the tensors that this step verifies or measures.

        Args:
            optimizer: the torch optimizer, not a wrapper.
            scheduler: of the optimizer, if there is one.
            step: 0-based index of this optimizer step.
            model: to check that every trainable parameter is in the optimizer.
            measure: whether to compute the groups' norms at this step.
            is_last: whether no step follows: the model is looked through then, as at the first steps.

        Raises:
            PlanNotAppliedError: a rate is not the planned one, or a trainable tensor has none.
        """
        phase = self._phase
        self.check_rates(optimizer, scheduler, step)
        if self._phase != phase:
            self._check_still()
            self._still = self._held_still(optimizer)
        is_first = self._unseen is None and any(rate > 0 for rate in self.rates.values())
        self._looks += 1
        if is_first or is_last or self._looks <= _LOOK or self._looks % _LOOK == 0:
            check_coverage(model, optimizer)
        check_trainable(optimizer)
        self._optimizer = optimizer
        groups = optimizer.param_groups
        unseen = self._unseen or set()
        self._before = {
            id(p): Before.of(p) for group in groups for p in group["params"] if is_first or id(p) in unseen
        }
        self._steps = _step_count(optimizer) if self._before else None
        self._samples = {}
        if measure:
            self._samples = {id(p): sample(p).clone() for group in groups for p in group["params"]}
            self.norms = {f"grad_norm/{g['group_name']}": gradient_norm(g["params"]) for g in groups}

    def after_step(self, optimizer: Any, step: int, *, skipped: bool = False) -> None:
        """Compare the movement with what the rates and the optimizer's state imply.

        Raises:
            PlanNotAppliedError: a rate changed just before the step, or the weights did not follow it.
        """
        before, self._before = self._before, {}
        samples, self._samples = self._samples, {}
        for group in optimizer.param_groups:
            rate, planned = float(group["lr"]), self.rates[group["group_name"]]
            if rate != planned:
                raise PlanNotAppliedError(
                    f"The learning rate of group {group['group_name']} was {planned:.3g}, as planned, and "
                    f"became {rate:.3g} just before the step: a callback or a hook changed it."
                )
        if skipped:
            return
        if samples:
            self.norms |= {
                f"update_norm/{g['group_name']}": update_norm(g["params"], samples)
                for g in optimizer.param_groups
            }
        if before and not self._was_skipped(optimizer, before):
            self._verify(optimizer, before, step)

    def _verify(self, optimizer: Any, before: dict[int, Before], step: int) -> None:
        assert self._phase is not None
        self.has_verified = True
        moved = {g["group_name"]: self._moved_of(g, before, optimizer) for g in optimizer.param_groups}
        groups = {g["group_name"]: self._entry(g, moved[g["group_name"]]) for g in optimizer.param_groups}
        if self._unseen is None:
            ratios = {name: (self.rates[name], found) for name, found in moved.items()}
            check_ratios(ratios, rule_of(optimizer))
            _check_lost_steps(moved)
            phase = self.plan.phases[self._phase].name
            self.verified.append({"step": step + 1, "phase": phase, "groups": groups})
        else:
            for name, found in groups.items():
                self.verified[-1]["groups"][name]["moved"] = found["moved"]
        held = [p for group in optimizer.param_groups for p in group["params"]]
        idle = {id(p) for p in held if id(p) in before and not before[id(p)].gradient_of(p).any()}
        # Where nothing has a gradient (all rewards equal, say), a group without one tells nothing.
        others = (p for p in held if id(p) not in idle)
        self._follow -= any(bool(Before.of(p).gradient_of(p).any()) for p in others)
        is_over = self._follow <= 0
        if is_over:
            check_all_trained(optimizer, self.rates, idle, _FOLLOWED)
        moving = {id(p) for group in optimizer.param_groups if group["lr"] > 0 for p in group["params"]}
        self._unseen = set() if is_over else idle & moving

    def _held_still(self, optimizer: Any) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        assert self._phase is not None
        return [
            (name, parameter, sample(parameter).clone())
            for group in optimizer.param_groups
            if self._groups[group["group_name"]][self._phase] == 0
            for name, parameter in zip(_names(group), group["params"])
        ]

    def _check_idle(self) -> None:
        """A group that had no gradient up to the end of the phase or of the run took no part."""
        followed = _FOLLOWED - self._follow
        if self._unseen and self._follow > 0 and followed >= _ENOUGH:
            check_all_trained(self._optimizer, self.rates, self._unseen, followed)

    def _check_still(self) -> None:
        for name, parameter, start in self._still:
            now = sample(parameter)
            # FSDP1 may have gathered the tensor meanwhile.
            if now.shape == start.shape and not torch.equal(now, start):
                raise PlanNotAppliedError(
                    f"{name} moved although its rate is 0: something else than the optimizer changed it."
                )

    def _was_skipped(self, optimizer: Any, before: dict[int, Before]) -> bool:
        """Whether a loss scaler skipped the step inside a fused optimizer; accelerate does not notice."""
        held = [p for group in optimizer.param_groups for p in group["params"]]
        if any(id(p) in before and not torch.equal(before[id(p)].values, sample(p)) for p in held):
            return False
        steps = _step_count(optimizer)
        has_not_counted = steps is not None and steps <= (self._steps or 0.0)
        return has_not_counted or any(p.grad is not None and not p.grad.isfinite().all() for p in held)

    def _moved_of(self, group: dict[str, Any], before: dict[int, Before], optimizer: Any) -> list[Moved]:
        top_rate = self.base_rate * max(self._groups[group["group_name"]])
        found = []
        for label, parameter in zip(_names(group), group["params"]):
            old = before.get(id(parameter))
            if old is not None and old.values.numel():  # Shards of other processes are empty here.
                found.append(check_movement(label, parameter, old, group, optimizer, top_rate))
                if found[-1].has_moved:
                    self._moved.add(id(parameter))
        return found

    def _entry(self, group: dict[str, Any], moved: list[Moved]) -> dict[str, Any]:
        return {
            "rate": self.rates[group["group_name"]],
            "tensors": len(moved),
            "moved": sum(id(parameter) in self._moved for parameter in group["params"]),
            "rms_movement": sum(entry.rms for entry in moved) / len(moved) if moved else 0.0,
        }


def _check_lost_steps(moved: dict[str, list[Moved]]) -> None:
    pooled: dict[str, list[Moved]] = {}
    for name, found in moved.items():
        # What does not decay is a group of its own, at the same rate.
        pooled.setdefault(name.partition("/")[0], []).extend(found)
    for name, found in pooled.items():
        if found and all(entry.lost > LOST for entry in found):
            raise PlanNotAppliedError(
                f"Group {name} cannot move: even at its highest rate the steps of all its {len(found)} "
                "tensors are rounded away in their precision. Raise the rate, or give it the multiplier 0 if "
                "it is not to move."
            )
        lost = [entry.lost for entry in found if entry.lost >= NOTABLE]
        if lost:
            log.warning(
                "group %s: in %d of %d tensors half of the steps or more (up to %.0f%%) are rounded away, "
                "because of the weights' precision. Keep trained weights in float32, or raise the rate.",
                *(name, len(lost), len(found), 100 * max(lost)),
            )


def _names(group: dict[str, Any]) -> list[str]:
    return group.get("param_names") or ["a tensor"] * len(group["params"])


def _step_count(optimizer: Any) -> float | None:
    """The steps that the optimizer's own state has counted, if it counts any."""
    states = (state for state in optimizer.state.values() if isinstance(state, dict))
    return max((float(state["step"]) for state in states if "step" in state), default=None)


def unwrapped(optimizer: Any) -> Any:
    """The torch optimizer inside the wrappers of accelerate and DeepSpeed."""
    while hasattr(optimizer, "optimizer") and not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    inner = getattr(optimizer, "optimizer", None)
    return inner if isinstance(inner, torch.optim.Optimizer) else optimizer
