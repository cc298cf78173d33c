"""Muon for weight matrices, AdamW for everything else, in one step that a CUDA graph can hold.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks") orthogonalises the momentum of each
weight matrix; convolution kernels count as matrices of shape (out, in * height * width). Matrices of one shape go through
the iteration as one batch: one by one they would cost a small model more than its own forward and backward.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Coefficients of the quintic Newton-Schulz iteration, as published.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 3
_MOMENTUM = 0.95
_DECAY = 0.01


def warm_cosine(number: int, steps: int, warmup: int = 100) -> float:
    """Share of the peak learning rate at step `number`, from 0: a linear warm-up, then a cosine decay to a hundredth."""
    decay = 0.5 + 0.5 * math.cos(math.pi * min(number, steps) / steps)
    return min(1.0, (number + 1) / warmup) * (0.99 * decay + 0.01)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (count, rows, columns) with their singular values brought near 1."""
    low, tall = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32), matrices.shape[1] > matrices.shape[2]
    x = low.mT if tall else low
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Trainer:
    """A model, a copy of it to compute with, and its optimizer.

    On a GPU the copy is in bfloat16 and a step is recorded as a CUDA graph: so small a model would wait for launches most of
    the time. On a CPU the copy is the model.

    Args:
        model: float32, on its device.
        loss: of the copy and the tensors of a batch.
        is_outer: names of matrices for AdamW (embeddings, first and last layers).
        muon_lr, adam_lr: peak learning rates; Muon's is scaled to AdamW's update size.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        is_outer: Callable[[str], bool],
        muon_lr: float,
        adam_lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        self.model, self._loss, self._rates = model, loss, (muon_lr, adam_lr)
        self._on_gpu = next(model.parameters()).is_cuda
        self.copy = copy.deepcopy(model).bfloat16() if self._on_gpu else model
        self._weights, self._copies = list(model.parameters()), list(self.copy.parameters())
        shapes: dict[tuple[int, int], list[int]] = {}
        others: list[int] = []
        for number, (name, weight) in enumerate(model.named_parameters()):
            if weight.ndim < 2 or is_outer(name):
                others.append(number)
            else:
                shapes.setdefault((weight.shape[0], weight[0].numel()), []).append(number)
        self._stacks = list(shapes.values())
        self._momenta = [torch.zeros(len(each), *shape, device=self._weights[0].device) for shape, each in shapes.items()]
        self._others = others
        self._adam = torch.optim.AdamW(
            [self._weights[i] for i in others], lr=torch.tensor(adam_lr), betas=betas, weight_decay=0.0, capturable=self._on_gpu
        )
        self._adam.param_groups[0]["lr"] = torch.tensor(adam_lr, device=self._weights[0].device)
        self._replay: tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor] | None = None

    def step(self, share: float, *batch: Tensor) -> Tensor:
        """Loss of the batch, after which the weights are updated. share: of the peak learning rates."""
        values = (torch.tensor(share, device=self._weights[0].device), *batch)
        if not self._on_gpu:
            return self._run(*values)
        if self._replay is None:
            self._replay = self._record(*values)
        graph, places, loss = self._replay
        torch._foreach_copy_(places, list(values))
        graph.replay()
        return loss.clone()

    def _run(self, share: Tensor, *batch: Tensor) -> Tensor:
        loss = self._loss(self.copy, *batch)
        loss.backward()
        with torch.no_grad():
            self._update(share)
        return loss.detach()

    def _update(self, share: Tensor) -> None:
        gradients = [c.grad for c in self._copies]
        for numbers, momentum in zip(self._stacks, self._momenta, strict=True):
            found = torch.stack([gradients[i].flatten(1) for i in numbers]).float()  # type: ignore[union-attr]
            momentum.lerp_(found, 1 - _MOMENTUM)
            scale = 0.2 * math.sqrt(max(found.shape[1:])) * self._rates[0]
            change = orthogonalised(torch.lerp(found, momentum, _MOMENTUM)) * (-scale * share)
            weights = [self._weights[i] for i in numbers]
            torch._foreach_mul_(weights, 1 - _DECAY * self._rates[0] * share)
            torch._foreach_add_(weights, [each.view(weight.shape) for each, weight in zip(change, weights, strict=True)])
        for i in self._others:
            found_one = gradients[i]
            self._weights[i].grad = None if found_one is None else found_one.float()
        torch.nn.utils.clip_grad_norm_([self._weights[i] for i in self._others], 1.0)
        self._adam.param_groups[0]["lr"].copy_(self._rates[1] * share)
        self._adam.step()
        if self._on_gpu:
            torch._foreach_copy_(self._copies, self._weights)
        for parameter in (*self._copies, *self._weights):
            parameter.grad = None

    def _record(self, *values: Tensor) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        places = [value.clone() for value in values]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # makes the optimizer's state, whose momenta this batch begins, and picks kernels; weights stay
                self._run(torch.zeros_like(places[0]), *places[1:])
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._run(*places)
        return graph, places, loss

    def state_dict(self) -> dict[str, Any]:
        """Weights and the optimizer's state."""
        return {"model": self.model.state_dict(), "momenta": self._momenta, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        with torch.no_grad():
            torch._foreach_copy_(self._momenta, [each.to(self._momenta[0].device) for each in state["momenta"]])
            torch._foreach_copy_(self._copies, self._weights)
        rate = self._adam.param_groups[0]["lr"]
        self._adam.load_state_dict(state["adam"])
        self._adam.param_groups[0].update(lr=rate, capturable=self._on_gpu)
        for kept in self._adam.state.values():
            kept["step"] = kept["step"].to(rate.device)
