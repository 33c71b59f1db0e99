"""The tables of `analyze --full` show every number that a reader needs to judge the one beside it."""

from __future__ import annotations

import copy
from typing import Any

from securetune.analysis.full_tables import markdown

COMPARED = {
    "what": "two-layer",
    "spearman": 0.91,
    "low": 0.82,
    "high": 0.97,
    "n": 210,
    "iou": 0.8,
    "chance": 0.34,
}
CONTENT: dict[str, Any] = {
    "reference": "closed form (gaussian 0.1, probe)",
    "sentence": "In this model: nothing is shown.",
    "proxies": [COMPARED | {"what": "generic"}, {"what": "refusal-margin", "note": "Drift has | no unit"}],
    "specificity": {
        "probe": {
            "spearman": 0.7, "explained": 0.52, "low": 0.41, "high": 0.63, "generic_split_half": 0.88,
            "n": 210, "residual": {"0.a": 0.1, "1.a": -2.0, "2.a": 1.5, "3.a": 0.3},
        },
        "refusal-margin": {"note": "no unit"},
    },
    "probes": [COMPARED | {"auroc": 0.973, "shuffled_auroc": 0.512, "bag_of_words_auroc": 0.84}],
    "stability": [COMPARED | {"what": "halves of the probe prompts, split 0", "spearman": None}],
    "perturbations": [COMPARED | {"what": "zero", "split_half_draws": None},
                      COMPARED | {"what": "scale 0.1", "split_half_draws": 0.777}],
    "joint": [{"share": 0.5, "set": "most robust", "matrices": 99, "noise": 0.5, "predicted": 0.2,
               "measured": 0.3, "draws": [0.3, 0.3], "ratio": 1.5}],
    "patterns": [
        {"pattern": "A", "effect": -0.4, "p_value": 0.2, "n": 7, "noise": None, "sentence": ""},
        {"pattern": "C", "effect": 0.4, "p_value": 0.004, "n": 24, "noise": 0.5, "sentence": ""},
        {"pattern": "B", "effect": None, "p_value": None, "n": 0, "noise": None, "sentence": ""},
    ],
    "refit": [{"what": "everything", "noise": 0.5, "unperturbed_auroc": 0.97, "frozen_auroc": 0.7,
               "frozen_recall": 0.25, "refitted_auroc": 0.95, "frozen_draws": [0.68, 0.72],
               "refitted_draws": [0.94, 0.96], "recovered": 0.93, "n": 300}],
    "prompts_needed": {"curve": {"2": 0.5, "4": 0.96}, "needed": 4, "enough": 0.95},
    "split_half": {"prompts": 0.99, "draws": None},
}  # fmt: skip


def rows(text: str, start: str) -> list[list[str]]:
    """Cells of the rows that begin with `start`."""
    found = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in found]


def test_every_table_is_whole() -> None:
    """As many cells in each row as there are columns, a blank line before each table."""
    lines = markdown(CONTENT).splitlines()
    tables = [i for i, line in enumerate(lines) if line.startswith("| ---")]
    assert len(tables) == 9
    for head in tables:
        assert lines[head - 2] == "" and lines[head - 3].endswith(":")
        width = lines[head].count(" | ")
        end = head
        while end + 1 < len(lines) and lines[end + 1].startswith("|"):
            end += 1
            assert lines[end].replace("\\|", "").count(" | ") == width, lines[end]
        assert end > head


def test_values_stand_beside_their_uncertainty() -> None:
    text = markdown(CONTENT)
    assert text.startswith("In this model: nothing is shown.")
    assert rows(text, "two-layer")[0][1:5] == ["0.973", "0.512", "0.840", "0.910 [0.820, 0.970]"]
    assert rows(text, "probe | 0.520")[0][1:5] == ["0.520 [0.410, 0.630]", "0.700", "210", "0.880"]
    assert "1.a -2.00, 2.a +1.50, 3.a +0.30" in text and "0.a" not in text
    assert rows(text, "scale")[0][-1] == "0.777" and rows(text, "zero")[0][-1] == "n/a"
    assert rows(text, "halves of")[0][1] == "n/a"
    assert rows(text, "everything")[0][3:] == [
        "0.700", "0.680 to 0.720", "25.0%", "0.950", "0.940 to 0.960", "93%",
    ]  # fmt: skip
    assert rows(text, "C")[0] == ["C", "0.5", "+0.400", "0.004", "24"]
    assert rows(text, "most robust")[0][-1] == "1.50"
    assert "Drift has \\| no unit" in text
    assert "0.95 is reached with 4 prompts. Split-half over prompts 0.990." in text


def test_what_is_not_reached_is_said() -> None:
    content = copy.deepcopy(CONTENT)
    content["prompts_needed"]["needed"] = None
    content["split_half"]["draws"] = 0.5
    text = markdown(content)
    assert "0.95 is not reached. Split-half over prompts 0.990; over draws 0.500." in text
