"""The state of a model in which only gradients of activations are computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint

from securetune.analysis.weights import patched
from securetune.models.module_map import ModuleMap


@contextmanager
def weights_at_rest(model: Any) -> Iterator[None]:
    """No weight requires a gradient while the context is open; the model is in evaluation mode."""
    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    was_training = model.training
    try:
        model.eval()
        for parameter, _, _ in before:
            # Integer (quantised) weights cannot require one.
            parameter.requires_grad_(False)
            parameter.grad = None
        yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient
        model.train(was_training)


@contextmanager
def inputs_require_grad(model: Any) -> Iterator[None]:
    """The embedding output requires a gradient while the context is open, so that activations have one."""
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output.requires_grad_(True)
    )
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recomputed_blocks(modules: ModuleMap) -> Iterator[None]:
    """Keep only the inputs of the blocks; recompute each block when its backward pass comes."""
    with ExitStack() as stack:
        for block in modules.blocks():
            forward = block.forward

            def again(*arguments: Any, _forward: Any = forward, **keywords: Any) -> Any:
                return checkpoint(_forward, *arguments, use_reentrant=False, **keywords)

            stack.enter_context(patched(block, again))
        yield
