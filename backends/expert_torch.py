"""The fastest step found with PyTorch: `space_to_depth`, the whole step in one torch.compile.

Images are channels-last. The first convolution is taken a pooling window at a time (see
`space_to_depth.py`), and so is the input gradient of the second, whose forward pass and weight
gradient oneDNN does as well as they are. The way back is written by hand, so that the compiler sees
one graph, and fuses all between the convolutions.

A convolution's values are kept corner by corner, (N, H', W', 4, C): pooling is over the fourth axis.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.lenet import Variant, stage_shapes
from backends.space_to_depth import CORNERS, KERNEL, POOL, SEEN, TAPS

Params = Mapping[str, Tensor]

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
# The derivative of each activation, as a function of the activation's value.
SLOPES = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - y * y, "relu": lambda y: (y > 0).to(y.dtype)}


def spread(weight: Tensor) -> Tensor:
    """`space_to_depth.spread` with channels as (row, column, channel): (O, C, 5, 5) gives (4 * O, 4 * C, 3, 3)."""
    out, channels = weight.shape[:2]
    last = SEEN - KERNEL
    wide = torch.stack([F.pad(weight, (j, last - j, i, last - i)) for i, j in CORNERS])
    blocks = wide.view(-1, channels, TAPS, POOL, TAPS, POOL).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(len(CORNERS) * out, -1, TAPS, TAPS).contiguous(memory_format=torch.channels_last)


def gather(wide: Tensor, channels: int) -> Tensor:
    """The transpose of `spread`."""
    blocks = wide.reshape(-1, POOL, POOL, channels, TAPS, TAPS).permute(0, 3, 4, 1, 5, 2)
    seen = blocks.reshape(len(CORNERS), -1, channels, SEEN, SEEN)
    first, *others = (seen[k, :, :, i : i + KERNEL, j : j + KERNEL] for k, (i, j) in enumerate(CORNERS))
    return sum(others, start=first)


def to_depth(x: Tensor) -> Tensor:
    """(N, H, W, C) gives (N, H / 2, W / 2, 4, C): each 2x2 block on an axis of its own."""
    images, height, width, channels = x.shape
    blocks = x.reshape(images, height // POOL, POOL, width // POOL, POOL, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(images, height // POOL, width // POOL, len(CORNERS), channels)


def from_depth(x: Tensor) -> Tensor:
    """The inverse of `to_depth`."""
    images, height, width, _, channels = x.shape
    blocks = x.view(images, height, width, POOL, POOL, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(images, POOL * height, POOL * width, channels)


def channels_first(x: Tensor) -> Tensor:
    """A view of (N, H, W, ...) with the channels where PyTorch's operators want them; the memory stays."""
    return x.flatten(3).permute(0, 3, 1, 2)


def convolution_backward(d: Tensor, x: Tensor, weight: Tensor, wanted: int) -> Tensor:
    """The gradient of the input (`wanted` is 0) or of the weight (1) of an unpadded convolution."""
    mask = [wanted == 0, wanted == 1, False]
    found = torch.ops.aten.convolution_backward(d, x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask)
    return found[wanted]


def pool(corners: Tensor, pooling: str) -> Tensor:
    return corners.amax(3) if pooling == "max" else corners.mean(3)


def pool_backward(d: Tensor, corners: Tensor, v: Variant) -> Tensor:
    """Through pooling and activation: the gradient of the convolution, corner by corner."""
    d = d.view(*corners.shape[:3], 1, -1) * SLOPES[v.activation](corners)
    if v.pooling == "average":
        return d / len(CORNERS)
    largest = corners == corners.amax(3, keepdim=True)
    # Of equals, the first corner only, as in the reference.
    return torch.where(largest & (largest.cumsum(3) == 1), d, 0)


def dense_layers(v: Variant) -> list[str]:
    return [name for name in ("conv3", "dense1", "dense2", "dense3") if name in v]


def forward(p: Params, v: Variant, images: Tensor) -> dict[str, Tensor]:
    """Every stage from (N, H, W, 1) images to (N, 10) logits; convolutions corner by corner."""
    act, padding, count = ACTIVATIONS[v.activation], v["conv1"].padding, len(images)
    x = {"input": images, "framed": to_depth(F.pad(images, (0, 0, *[padding] * 4)))}
    y = F.conv2d(channels_first(x["framed"]), spread(p["conv1.weight"]), p["conv1.bias"].repeat(len(CORNERS)))
    x["conv1"] = act(y.permute(0, 2, 3, 1)).unflatten(3, (len(CORNERS), -1))
    x["pool1"] = pool(x["conv1"], v.pooling)
    weight = p["conv2.weight"].contiguous(memory_format=torch.channels_last)
    y = F.conv2d(channels_first(x["pool1"]), weight, p["conv2.bias"])
    x["conv2"] = to_depth(act(y.permute(0, 2, 3, 1)))
    x["pool2"] = pool(x["conv2"], v.pooling)
    x["flatten"] = last = x["pool2"].permute(0, 3, 1, 2).reshape(count, -1)
    for name in dense_layers(v):
        last = torch.addmm(p[f"{name}.bias"], last, p[f"{name}.weight"].flatten(1).T)
        x[name] = last = last if name == "dense3" else act(last)
    return x


def backward(p: Params, v: Variant, x: Mapping[str, Tensor], d: Tensor) -> dict[str, Tensor]:
    """The gradients of all parameters from that of the logits; `x` is what `forward` gave."""
    gradients: dict[str, Tensor] = {}
    names = dense_layers(v)
    for name, entering in reversed(list(zip(names, ["flatten", *names]))):
        gradients[f"{name}.weight"] = (d.T @ x[entering]).view_as(p[f"{name}.weight"])
        gradients[f"{name}.bias"] = d.sum(0)
        d = d @ p[f"{name}.weight"].flatten(1)
        if entering != "flatten":
            d = d * SLOPES[v.activation](x[entering])
    d = d.view(len(d), *stage_shapes(v)["pool2"]).permute(0, 2, 3, 1)
    d = pool_backward(d.contiguous(), x["conv2"], v)
    gradients["conv2.bias"] = d.sum((0, 1, 2, 3))
    entering, weight = channels_first(x["pool1"]), p["conv2.weight"].contiguous(memory_format=torch.channels_last)
    gradients["conv2.weight"] = convolution_backward(channels_first(from_depth(d)), entering, weight, 1)
    wide = channels_first(to_depth(x["pool1"]))
    d = convolution_backward(channels_first(d), wide, spread(p["conv2.weight"]), 0).permute(0, 2, 3, 1)
    d = pool_backward(from_depth(d.unflatten(3, (len(CORNERS), -1))), x["conv1"], v)
    gradients["conv1.bias"] = d.sum((0, 1, 2, 3))
    framed, weight = channels_first(x["framed"]), spread(p["conv1.weight"])
    channels = p["conv1.weight"].shape[1]
    gradients["conv1.weight"] = gather(convolution_backward(channels_first(d), framed, weight, 1), channels)
    return gradients


def gradients(p: Params, v: Variant, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean softmax cross-entropy of a batch, and every parameter's gradient."""
    x = forward(p, v, images)
    log_softmax = x["dense3"].log_softmax(1)
    chosen = torch.arange(log_softmax.shape[1], device=labels.device) == labels[:, None]
    loss = -torch.where(chosen, log_softmax, 0).sum() / len(labels)
    return loss, backward(p, v, x, (log_softmax.exp() - chosen.to(log_softmax.dtype)) / len(labels))


def stages(p: Params, v: Variant, images: Tensor) -> dict[str, Tensor]:
    """Every stage's value in canonical layout."""
    x = forward(p, v, images)
    for name in ("conv1", "conv2"):
        x[name] = from_depth(x[name])
    if "conv3" in x:
        x["flatten"], x["conv3"] = x["conv3"], x["conv3"][:, None, None]
    return {name: x[name].permute(0, 3, 1, 2) if x[name].ndim == 4 else x[name] for name in stage_shapes(v)}
