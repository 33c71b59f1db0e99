"""Settings of the evaluation: what is asked, under which attacks, how it is answered, who judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from securetune.embedding_model import find_embedding_model
from securetune.errors import ConfigError
from securetune.files import file_digest
from securetune.settings import Settings
from securetune.task_files import TaskSet, read_task


class RubricSettings(Settings):
    """The endpoint of the judge `rubric`: any server that speaks OpenAI's chat completions."""

    base_url: str
    """Up to and including `/v1`, e.g. `http://localhost:8000/v1`."""
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable with the key; the key itself is written nowhere."""
    timeout_seconds: float = Field(60, gt=0)
    retries: int = Field(3, ge=0)
    retry_seconds: float = Field(2, ge=0)
    """Wait before the first repetition; doubles with each."""
    workers: int = Field(4, ge=1)
    """Requests at the same time."""
    price_in: float | None = Field(None, ge=0)
    """Price of a million tokens, for the estimate before the start."""
    price_out: float | None = Field(None, ge=0)


class SuffixSettings(Settings):
    """Bounds of the attack `suffix-search`, which evaluates the user's own model."""

    behaviours: int = Field(10, ge=1)
    """At most so many prompts of each suite (seeded); every prompt is a search of its own."""
    steps: int = Field(20, ge=0)
    width: int = Field(32, ge=1)
    """Candidates per step."""
    topk: int = Field(64, ge=1)
    """Tokens per place that candidates are drawn from."""
    tokens: int = Field(12, ge=1)
    """Length of the suffix."""
    batch_size: int = Field(16, ge=1)
    seed: int = 0


FALLBACK_JUDGES = ("refusal-list-qi", "refusal-list-safedecoding", "refusal-list-wei")
"""Who judges where the answer classifier's embedding model is not installed."""


def default_judges() -> tuple[str, ...]:
    """The answer classifier where its embedding model is installed, and the three refusal lists.

    The classifier decides: on whole answers it reaches kappa 0.93 and the lists 0.74, on short ones that are
    cut off both reach 0.94 (docs/judges.md). Without it the first list decides, and the log says so.
    """
    found = find_embedding_model() is not None
    return ("answer-classifier", *FALLBACK_JUDGES) if found else FALLBACK_JUDGES


class EvaluateSettings(Settings):
    """What is asked, how it is answered, who judges."""

    max_new_tokens: int = Field(32, ge=1)
    batch_size: int = Field(16, ge=1)
    judges: tuple[str, ...] = Field(default_factory=default_judges)
    """The first judge is the one whose rates the verdict uses."""
    guard_models: dict[str, str] = Field(default_factory=dict)
    """Where a guard judge is if not on the hub: its name -> directory or `id@revision`."""
    rubric: RubricSettings | None = None
    attacks: tuple[str, ...] = ()
    """Ask every harmful suite again under these attacks; names in `docs/attacks.md`."""
    adversarial: tuple[str, ...] = ()
    """Files of adversarial prompts (JailbreakBench artefacts, HarmBench test cases, nanogcg results)."""
    attack_limit: int | None = Field(None, ge=1)
    """At most this many prompts per attacked suite (seeded)."""
    suffix: SuffixSettings = SuffixSettings()
    tasks: tuple[str, ...] = ()
    """Task scores, `TASK=FILE` or `TASK=HUB_ID[@REVISION][:SUBSET[:SPLIT]]`: gsm8k, sst2, agnews, mmlu."""
    task_limit: int | None = Field(200, ge=1)
    """At most this many questions per task (seeded)."""
    lm_eval: tuple[str, ...] = ()
    """Tasks of lm-evaluation-harness, which is run in a process of its own (extra `lm-eval`)."""
    lm_eval_limit: int | None = Field(None, ge=1)
    """At most this many rows per lm-eval task."""
    lm_eval_include: str | None = None
    """A directory with lm-eval task definitions of your own."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates the answers; `vllm` is a process of its own."""
    vllm_python: str | None = None
    """The Python of an environment that has vLLM, where ours has not."""
    limit: int | None = Field(None, ge=2)
    """At most this many prompts per suite (seeded)."""
    store_text: bool = True
    """Keep answer texts in responses.jsonl; verdicts are kept either way."""
    system_prompt: str | None = None
    chat_template: str | None = None
    """Jinja text, a file or `chatml`: ask with another template than the training's. Losses keep theirs."""

    @property
    def needs_files(self) -> bool:
        """Whether a process of its own loads the models."""
        return bool(self.lm_eval) or self.engine != "transformers"

    @field_validator("tasks")
    @classmethod
    def _every_task_is_there_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        names = [spec.partition("=")[0] for spec in tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"{', '.join(twice)} is there more than once, and a task has one score; name one source of "
                "each task, or put the rows into one file"
            )
        return tasks

    @property
    def task_sets(self) -> list[TaskSet]:
        """The questions of every task."""
        return [read_task(spec, self.task_limit) for spec in self.tasks]

    @property
    def task_digests(self) -> dict[str, Any]:
        """Task -> what identifies the questions that are asked."""
        return {one.task: one.identity for one in self.task_sets}

    @property
    def further_inputs(self) -> dict[str, Any]:
        """What results depend on only if it is asked for; part of the stage's inputs."""
        inputs: dict[str, Any] = {}
        if self.tasks:
            inputs["tasks"] = self.task_digests
        if self.lm_eval:
            inputs["lm_eval"] = [self.lm_eval, self.lm_eval_limit]
            if self.lm_eval_include is not None:
                inputs["lm_eval_include"] = _file_digests(Path(self.lm_eval_include))
        if self.engine != "transformers":
            inputs["engine"] = self.engine
        return inputs


def _file_digests(directory: Path) -> dict[str, str]:
    """Path below a directory of task definitions -> digest of the file, without Python's caches."""
    if not directory.is_dir():
        raise ConfigError(
            f"evaluate.lm_eval_include: {directory} is no directory. Name one with lm-eval task definitions."
        )
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(directory)): file_digest(path)
        for path in files
        if "__pycache__" not in path.parts
    }
