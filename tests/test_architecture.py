"""Imports run one way, no module is a grab bag, and the public names are complete."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import securetune

SOURCE = Path(securetune.__file__).parent

LAYERS: list[set[str]] = [
    {"errors", "files", "memory", "progress", "data", "settings"},
    {"addressing", "embedding_model", "tables", "prompts", "task_files", "terminal"},
    {"analysis_settings", "evaluation_settings", "compare_settings", "training_settings"},
    {"config", "plan", "dataset", "prompt_files", "overlap"},
    {"formats", "encoding", "report.data", "report.asked", "runs", "models"},
    {"evaluation"},
    {"inputs", "tuning_rows", "strategies", "plan_source", "exports"},
    {"analysis", "training"},
    {"pipeline", "start_model", "analysed_model", "evaluated_model"},
    {"report"},
    {"cli_options", "summary", "compare", "dry_run", "doctor", "gate", "run_settings"},
    {"align_command", "export_command"},
    {"judging_commands", "compare_command"},
    {"cli"},
    {"__main__", ""},
]
"""From the bottom; a module imports only from its own layer and the ones above it in this list."""

EXCEPTIONS = {
    # The last-token reader renders prompts exactly as generation does.
    ("models.hidden_states", "evaluation.generate"),
    # The last stage of the pipeline is its report.
    ("pipeline", "report.assemble"),
}


def layer_of(module: str) -> int:
    """Index of the longest listed prefix of a module."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for index, layer in enumerate(LAYERS):
            if name in layer:
                return index
    raise AssertionError(f"{module} belongs to no layer; add it to LAYERS")


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__").removesuffix("__init__")] = path
    return found


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules of ours that a file imports; TYPE_CHECKING blocks do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    nodes = tree.body if top_level else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("securetune"):
            names.add(node.module.removeprefix("securetune").removeprefix("."))
            if node.module == "securetune":
                names |= {alias.name for alias in node.names}
    return names - {""}


@pytest.mark.parametrize("module", sorted(set(modules()) - {"", "__main__"}))
def test_imports_run_one_way(module: str) -> None:
    for target in imports(modules()[module]):
        if (module, target) not in EXCEPTIONS:
            assert layer_of(target) <= layer_of(module), f"{module} imports {target}"


def test_top_level_imports_have_no_cycle() -> None:
    paths = modules()
    graph = {name: imports(path, top_level=True) & set(paths) for name, path in paths.items() if name}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"cycle: {' -> '.join((*trail, name))}"
        if name in state:
            return
        state[name] = 1
        for target in graph.get(name, ()):
            visit(target, (*trail, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("module", sorted(modules()))
def test_modules_stay_small_and_named_for_what_they_hold(module: str) -> None:
    path = modules()[module]
    assert len(path.read_text().splitlines()) <= 350
    assert not {"utils", "helpers", "misc", "common"} & set(module.split("."))


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert securetune.__all__ == sorted(securetune.__all__)
    for name in securetune.__all__:
        assert getattr(securetune, name).__name__ == name
    with pytest.raises(AttributeError, match="it has Address"):
        securetune.nope  # noqa: B018


def test_nothing_pickles_or_trusts_remote_code() -> None:
    for name, path in modules().items():
        text = path.read_text()
        for word in ("import pickle", "torch.load(", "trust_remote_code=True", "joblib"):
            assert word not in text, f"{name}: {word}"


def test_every_load_says_that_it_trusts_no_remote_code() -> None:
    found = 0
    for path in modules().values():
        text = path.read_text()
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and re.fullmatch(r"Auto\w+\.\w+", ast.unparse(call.func)):
                found += 1
                said = {word.arg: ast.unparse(word.value) for word in call.keywords}
                if None in said:  # `**options`
                    assert re.search(r'"trust_remote_code"(: |\] = )False', text), path
                else:
                    assert said.get("trust_remote_code") == "False", f"{path}: {ast.unparse(call)}"
    assert found >= 7


def test_names_that_others_rely_on() -> None:
    from securetune.models import load_model

    assert load_model is securetune.load_model
