"""Any variant in MXNet Gluon, layer by layer from its data: for networks that are no LeNet as tutorials write it."""

from __future__ import annotations

from typing import Any

from mxnet import gluon
from mxnet.gluon import nn

from backends.lenet import (
    Conv,
    Dense,
    Flatten,
    Layer,
    Pool,
    Prototypes,
    Subsample,
    Variant,
    connected,
    is_activated,
    weight_shapes,
)
from backends.prototypes import prototypes

POOLINGS = {"average": nn.AvgPool2D, "max": nn.MaxPool2D}


class ScaledTanh(gluon.HybridBlock):
    """1.7159 tanh(2 x / 3)."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return 1.7159 * F.tanh(x * (2 / 3))


class PartialConvolution(gluon.HybridBlock):
    """A convolution in which each output channel sees some of the input channels."""

    def __init__(self, layer: Conv, variant: Variant) -> None:
        super().__init__(prefix=f"{layer.name}_")
        shape = weight_shapes(variant)[f"{layer.name}.weight"]
        self.size = {"kernel": shape[2:], "num_filter": shape[0], "pad": (layer.padding,) * 2}
        self.weight = self.params.get("weight", shape=shape)
        self.bias = self.params.get("bias", shape=shape[:1])
        self.mask = self.params.get_constant("mask", connected(variant)[f"{layer.name}.weight"])

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any, mask: Any) -> Any:
        return F.Convolution(x, F.broadcast_mul(weight, mask), bias, **self.size)


class TrainableSubsampling(gluon.HybridBlock):
    """The sum of a window times a weight per channel, plus a bias."""

    def __init__(self, layer: Subsample, channels: int) -> None:
        super().__init__(prefix=f"{layer.name}_")
        self.kernel = layer.kernel
        self.weight = self.params.get("weight", shape=(channels,))
        self.bias = self.params.get("bias", shape=(channels,))

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        size = (self.kernel,) * 2
        total = F.Pooling(x, kernel=size, stride=size, pool_type="avg") * self.kernel**2
        scaled = F.broadcast_mul(total, F.reshape(weight, (1, -1, 1, 1)))
        return F.broadcast_add(scaled, F.reshape(bias, (1, -1, 1, 1)))


class Distances(gluon.HybridBlock):
    """Minus the squared distance to each prototype."""

    def __init__(self) -> None:
        super().__init__(prefix="prototypes_")
        self.prototypes = self.params.get_constant("pictures", prototypes()[None])

    def hybrid_forward(self, F: Any, x: Any, prototypes: Any) -> Any:
        return -F.sum(F.square(F.broadcast_sub(F.expand_dims(x, 1), prototypes)), axis=2)


class Layered(gluon.HybridBlock):
    """One block per layer, and one for its activation; the logits have a column for rubbish where the variant asks."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(prefix="")
        self.variant = variant
        self.blocks: list[tuple[str, list[gluon.HybridBlock]]] = []
        for layer in variant.layers:
            own = [self.block(layer)]
            if is_activated(variant, layer):
                own.append(ScaledTanh() if variant.activation == "scaled_tanh" else nn.Activation(variant.activation))
            self.blocks.append((layer.name, own))
            for block in own:
                self.register_child(block)

    def block(self, layer: Layer) -> gluon.HybridBlock:
        name = {"prefix": f"{layer.name}_"}
        if isinstance(layer, Conv):
            if layer.connections:
                return PartialConvolution(layer, self.variant)
            return nn.Conv2D(layer.channels, layer.kernel, padding=layer.padding, **name)
        if isinstance(layer, Pool):
            return POOLINGS[self.variant.pooling](layer.kernel)
        if isinstance(layer, Subsample):
            return TrainableSubsampling(layer, weight_shapes(self.variant)[f"{layer.name}.weight"][0])
        if isinstance(layer, Flatten):
            return nn.Flatten()
        if isinstance(layer, Dense):
            return nn.Dense(layer.features, **name)
        assert isinstance(layer, Prototypes)
        return Distances()

    def stages(self, images: Any) -> dict[str, Any]:
        x, value = {"input": images}, images
        for name, blocks in self.blocks:
            for block in blocks:
                value = block(value)
            x[name] = value
        return x

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        logits = self.stages(images)[self.variant.layers[-1].name]
        if self.variant.rubbish is None:
            return logits
        column = F.slice_axis(logits, axis=1, begin=0, end=1)
        return F.concat(logits, F.zeros_like(column) + self.variant.rubbish, dim=1)
