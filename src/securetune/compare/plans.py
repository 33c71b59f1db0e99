"""Whether all runs of a strategy had one plan: shards that analyse the model on other machines may differ."""

from __future__ import annotations

from collections.abc import Sequence

from securetune.compare.cells import START, Cell
from securetune.plan import TuningPlan

DRAWN_BY_SEED = ("random",)


def plan_differences(cells: Sequence[Cell]) -> list[str]:
    """A sentence for every strategy whose runs were trained with different plans, or did not all record one.

    The random set is another one under every seed, as it should be.
    """
    sentences = []
    unrecorded: dict[str, list[str]] = {}
    names = dict.fromkeys(cell.key.strategy for cell in cells if cell.key != START)
    for name in (name for name in names if name not in DRAWN_BY_SEED):
        runs = [cell for cell in cells if cell.key.strategy == name]
        plans: dict[str, TuningPlan] = {}
        seeds: dict[str, set[int]] = {}
        for cell in (cell for cell in runs if cell.plan is not None):
            plan = TuningPlan.from_json(cell.plan, cell.key.name)
            plans[plan.fingerprint] = plan
            seeds.setdefault(plan.fingerprint, set()).add(cell.key.seed)
        patterns = [set(plan.patterns) for plan in plans.values()]
        if len(plans) > 1:
            groups = [
                f"seeds {_list(sorted(seeds[one]))}: {len(plan.patterns)} patterns"
                for one, plan in plans.items()
            ]
            sentences.append(
                f"The runs of {name} had {len(plans)} different plans ({'; '.join(groups)}; "
                f"{len(set.intersection(*patterns))} are in all)."
            )
        unknown = sorted({cell.key.seed for cell in runs if cell.plan is None})
        if unknown and any(patterns):
            unrecorded.setdefault(_list(unknown), []).append(name)
    sentences += [
        f"Not recorded, so that it is not known whether they are the same: the plans of {', '.join(those)} "
        f"with seed {which}."
        for which, those in unrecorded.items()
    ]
    return sentences


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
