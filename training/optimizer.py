"""Muon for weight matrices, AdamW for everything else, as one optimizer.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") orthogonalises the momentum of each
weight matrix; convolution kernels count as matrices of shape (out, in * height * width). torch's implementation does the
work; this module only hands it the kernels in that shape and keeps AdamW for vectors, embeddings and the outer layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def warm_cosine(number: int, steps: int, warmup: int = 100) -> float:
    """Share of the peak learning rate at step `number`, from 0: a linear warm-up, then a cosine decay to a hundredth."""
    decay = 0.5 + 0.5 * math.cos(math.pi * min(number, steps) / steps)
    return min(1.0, (number + 1) / warmup) * (0.99 * decay + 0.01)


class MuonAdamW:
    """One optimizer with peak learning rates and a schedule that is a share of them.

    Args:
        named_parameters: parameters by name.
        is_outer: names for AdamW although they are matrices (embeddings, first and last layers).
        muon_lr, adam_lr: peak learning rates; Muon's is scaled to AdamW's update size.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        is_outer: Callable[[str], bool],
        muon_lr: float,
        adam_lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        others: list[nn.Parameter] = []
        self.matrices: list[tuple[nn.Parameter, Tensor]] = []
        for name, parameter in named_parameters:
            if parameter.ndim < 2 or is_outer(name):
                others.append(parameter)
            else:
                # The view shares storage, so a step on it is a step on the kernel.
                self.matrices.append((parameter, parameter.data.view(parameter.shape[0], -1).requires_grad_()))
        self.parameters = [*others, *(parameter for parameter, _ in self.matrices)]
        self.optimizers = (
            torch.optim.Muon(
                [view for _, view in self.matrices],
                lr=muon_lr,
                momentum=0.95,
                ns_steps=3,  # as in airbench: five would cost a quarter of a training step
                weight_decay=0.01,
                adjust_lr_fn="match_rms_adamw",
            ),
            # A CUDA graph needs the count of steps on the device.
            torch.optim.AdamW(others, lr=adam_lr, betas=betas, weight_decay=0.0, capturable=others[0].is_cuda),
        )

    def step(self, share: Tensor) -> None:
        """Clip, update and clear the gradients.

        Args:
            share: of the peak learning rates, a tensor on the parameters' device, so that a recorded step can be replayed with
                another.
        """
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for parameter, view in self.matrices:
            view.grad = None if parameter.grad is None else parameter.grad.reshape(view.shape)
        before = [parameter.detach().clone() for parameter in self.parameters]
        for optimizer in self.optimizers:
            optimizer.step()
        # Both updates, weight decay included, are linear in the learning rate.
        with torch.no_grad():
            for parameter, old in zip(self.parameters, before, strict=True):
                parameter.copy_(torch.lerp(old, parameter, share))
                parameter.grad = None

    def state_dict(self) -> list[dict[str, Any]]:
        """States of both optimizers."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            # The rates and the device are this run's, whatever the run before had.
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
                if "capturable" in group:
                    group["capturable"] = group["params"][0].is_cuda
                    for kept in (optimizer.state[each] for each in group["params"] if each in optimizer.state):
                        kept["step"] = kept["step"].to(group["params"][0].device)
