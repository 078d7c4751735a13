"""Any variant in PyTorch, layer by layer from its data: for networks that are no LeNet as tutorials write it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.lenet import Conv, Dense, Flatten, Pool, Subsample, Variant, connected, is_activated
from backends.prototypes import prototypes

POOLINGS = {"average": F.avg_pool2d, "max": F.max_pool2d}


def activate(name: str, x: Tensor) -> Tensor:
    if name == "scaled_tanh":
        return 1.7159 * torch.tanh(x * (2 / 3))
    return {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}[name](x)


class Layered:
    """The network on its parameters `p`; masks and prototypes are constants of it."""

    def __init__(self, variant: Variant, p: Mapping[str, Tensor]) -> None:
        self.variant, self.p = variant, p
        like = next(iter(p.values())).detach()
        self.masks = {name: torch.from_numpy(mask).to(like) for name, mask in connected(variant).items()}
        self.prototypes = torch.from_numpy(prototypes()).to(like)

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's value, from (N, 1, H, W) images to (N, 10) logits."""
        x, value, p = {"input": images}, images, self.p
        for layer in self.variant.layers:
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            if isinstance(layer, Conv):
                kernels = p[weight] * self.masks[weight] if weight in self.masks else p[weight]
                value = F.conv2d(value, kernels, p[bias], padding=layer.padding)
            elif isinstance(layer, Pool):
                value = POOLINGS[self.variant.pooling](value, layer.kernel)
            elif isinstance(layer, Subsample):
                total = F.avg_pool2d(value, layer.kernel) * layer.kernel**2
                value = total * p[weight][:, None, None] + p[bias][:, None, None]
            elif isinstance(layer, Flatten):
                value = value.flatten(1)
            elif isinstance(layer, Dense):
                value = F.linear(value, p[weight], p[bias])
            else:
                value = -(value[:, None] - self.prototypes).square().sum(2)
            if is_activated(self.variant, layer):
                value = activate(self.variant.activation, value)
            x[layer.name] = value
        return x

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean softmax cross-entropy, with the variant's class for rubbish where it has one."""
        logits = self.stages(images)[self.variant.layers[-1].name]
        if self.variant.rubbish is not None:
            logits = F.pad(logits, (0, 1), value=self.variant.rubbish)
        return F.cross_entropy(logits, labels)
