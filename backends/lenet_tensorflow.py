"""LeNet-5 in TensorFlow with Keras layers: `eager`, the same step inside `tf.function`, and that under XLA.

`fit` is Keras's own training loop; `space_to_depth` has a file of its own, `expert_tensorflow.py`, and so have
variants that are no LeNet-5 as tutorials write it, `layered_tensorflow.py`.
Keras keeps channels last. A GPU is asynchronous even in eager mode. Thread counts cannot change once
TensorFlow has run an operation, so a process that asks for another count is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from backends.channels_last import (
    images_to_channels_last,
    stages_from_channels_last,
    weights_from_channels_last,
    weights_to_channels_last,
)
from backends.expert_tensorflow import SpaceToDepth
from backends.interface import Setup, Unsupported
from backends.layered_tensorflow import Layered
from backends.lenet import LENETS, Variant, stage_shapes, widths

version = tf.__version__

POOLINGS = {"average": layers.AveragePooling2D, "max": layers.MaxPooling2D}
PLACES = {"cpu": "/CPU:0", "cuda": "/GPU:0"}


class LeNet(keras.Model):
    """The network as TensorFlow's quickstart writes it: layers in `__init__`, their order in `call`."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        v, width, act, pool = variant, widths(variant), variant.activation, POOLINGS[variant.pooling]
        self.conv1 = layers.Conv2D(width["conv1"], v["conv1"].kernel, padding=padding(v), activation=act, name="conv1")
        self.pool1 = pool(2)
        self.conv2 = layers.Conv2D(width["conv2"], v["conv2"].kernel, activation=act, name="conv2")
        self.pool2 = pool(2)
        self.flatten = layers.Flatten()
        if "conv3" in v:
            self.conv3 = layers.Conv2D(width["conv3"], v["conv3"].kernel, activation=act, name="conv3")
        else:
            self.dense1 = layers.Dense(width["dense1"], activation=act, name="dense1")
        self.dense2 = layers.Dense(width["dense2"], activation=act, name="dense2")
        self.dense3 = layers.Dense(width["dense3"], name="dense3")
        self.c5_is_convolution = "conv3" in v

    def stages(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        x = {"input": images}
        x["conv1"] = self.conv1(x["input"])
        x["pool1"] = self.pool1(x["conv1"])
        x["conv2"] = self.conv2(x["pool1"])
        x["pool2"] = self.pool2(x["conv2"])
        if self.c5_is_convolution:
            x["conv3"] = self.conv3(x["pool2"])
            x["flatten"] = c5 = self.flatten(x["conv3"])
        else:
            x["flatten"] = self.flatten(x["pool2"])
            x["dense1"] = c5 = self.dense1(x["flatten"])
        x["dense2"] = self.dense2(c5)
        x["dense3"] = self.dense3(x["dense2"])
        return x

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.stages(images)["dense3"]


def padding(variant: Variant) -> str:
    """Keras pads by a word: `same` keeps the size, which is what (kernel - 1) / 2 on each side does."""
    conv1 = variant["conv1"]
    if conv1.padding not in (0, (conv1.kernel - 1) // 2):
        raise Unsupported("variant", f"Keras cannot pad a {conv1.kernel}x{conv1.kernel} convolution by {conv1.padding}")
    return "same" if conv1.padding else "valid"


class Trainer:
    """`step` is the GradientTape loop of the tutorials; `function` makes a graph of it, `xla` compiles that."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        self.variant, self.place, self.dtype = variant, PLACES[setup.device], keras.config.floatx()
        with tf.device(self.place):
            self.network: Any = LeNet(variant)
            channels, height, width = stage_shapes(variant)["input"]
            self.network(tf.zeros((1, height, width, channels), self.dtype))
            self.parameters = {parameter_name(p): p.value for p in self.network.trainable_variables}
            for name, value in weights_to_channels_last(variant, weights).items():
                self.parameters[name].assign(value)
            self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.optimizer = keras.optimizers.SGD(setup.learning_rate)
            self.optimizer.build(self.network.trainable_variables)
        self.run: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = self.step
        self.stage_values: Callable[[tf.Tensor], dict[str, tf.Tensor]] = self.network.stages
        if setup.mode != "eager":
            self.run = tf.function(self.step, jit_compile=setup.mode == "xla" or None)
            self.stage_values = tf.function(self.network.stages, jit_compile=setup.mode == "xla" or None)

    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.loss(labels, self.network(images, training=True))
        gradients = tape.gradient(loss, self.network.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables))
        return loss

    def put(self, images: np.ndarray, labels: np.ndarray) -> list[tuple[tf.Tensor, tf.Tensor]]:
        with tf.device(self.place):
            batches = tf.constant(images_to_channels_last(images), self.dtype)
            # identity: a constant on the host would otherwise be copied to the device in every step.
            return list(zip(tf.unstack(tf.identity(batches)), tf.unstack(tf.identity(tf.constant(labels)))))

    def train(self, chunk: list[tuple[tf.Tensor, tf.Tensor]]) -> list[tf.Tensor]:
        with tf.device(self.place):
            return [self.run(images, labels) for images, labels in chunk]

    def wait(self, pending: list[tf.Tensor]) -> np.ndarray:
        if self.place == PLACES["cuda"]:
            tf.test.experimental.sync_devices()
        return np.array([loss.numpy() for loss in pending])

    def stages(self, chunk: list[tuple[tf.Tensor, tf.Tensor]]) -> dict[str, np.ndarray]:
        with tf.device(self.place):
            values = self.stage_values(chunk[0][0])
        return stages_from_channels_last(self.variant, {name: value.numpy() for name, value in values.items()})

    def weights(self) -> dict[str, np.ndarray]:
        return weights_from_channels_last(self.variant, {name: p.numpy() for name, p in self.parameters.items()})

    def device(self) -> str:
        places = {tf.DeviceSpec.from_string(p.device) for p in self.parameters.values()}
        return " ".join(sorted("cpu" if at.device_type == "CPU" else f"cuda:{at.device_index}" for at in places))


class LossOfEachBatch(keras.callbacks.Callback):
    """Keras reports the mean over the batches so far; begun anew with each, that is the batch's own."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.losses: list[Any] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"])


class FitTrainer(Trainer):
    """`compile` and `fit` as Keras's guides write them, one call per chunk; `fit` itself slices it into batches."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        super().__init__(variant, weights, setup)
        self.network.compile(optimizer=self.optimizer, loss=self.loss)
        self.each = LossOfEachBatch()

    def put(self, images: np.ndarray, labels: np.ndarray) -> Any:
        with tf.device(self.place):
            return tf.constant(images_to_channels_last(images), self.dtype), tf.constant(labels)

    def train(self, chunk: Any) -> list[Any]:
        images, labels = chunk
        size = images.shape[1]
        x, y = tf.reshape(images, (-1, *images.shape[2:])), tf.reshape(labels, [-1])
        with tf.device(self.place):
            self.network.fit(x, y, batch_size=size, shuffle=False, verbose=0, callbacks=[self.each])
        return self.each.losses

    def wait(self, pending: list[Any]) -> np.ndarray:
        if self.place == PLACES["cuda"]:
            tf.test.experimental.sync_devices()
        return np.array(pending, self.dtype)  # Keras reports Python floats


class LayeredTrainer(Trainer):
    """The same with a network of any variant that works out its own gradients; its weights are channels last."""

    kind: type[SpaceToDepth | Layered] = Layered

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        self.variant, self.place, self.dtype = variant, PLACES[setup.device], keras.config.floatx()
        self.learning_rate = setup.learning_rate
        with tf.device(self.place):
            self.network: Any = self.kind(variant, weights, self.dtype)
        self.parameters = self.network.parameters
        self.run = tf.function(self.step, autograph=False)
        self.stage_values = tf.function(self.network.stages, autograph=False)

    def step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        loss, gradients = self.network.gradients(images, labels)
        for name, gradient in gradients.items():
            self.parameters[name].assign_sub(self.learning_rate * gradient)
        return loss


class ExpertTrainer(LayeredTrainer):
    """The same with the expert's network, whose weights are canonical."""

    kind = SpaceToDepth

    def stages(self, chunk: list[tuple[tf.Tensor, tf.Tensor]]) -> dict[str, np.ndarray]:
        with tf.device(self.place):
            values = {name: value.numpy() for name, value in self.stage_values(chunk[0][0]).items()}
        return {name: np.moveaxis(value, -1, 1) if value.ndim == 4 else value for name, value in values.items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: p.numpy().copy() for name, p in self.parameters.items()}


MODES = {
    "eager": Trainer,
    "function": Trainer,
    "fit": FitTrainer,
    "xla": Trainer,
    "space_to_depth": ExpertTrainer,
}


def parameter_name(parameter: Any) -> str:
    """Keras calls it `lenet/conv1/kernel`; canonical is `conv1.weight`."""
    layer, kind = parameter.path.split("/")[-2:]
    return f"{layer}.{'weight' if kind == 'kernel' else kind}"


def build(variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
    if setup.device not in PLACES:
        raise Unsupported("device", f"TensorFlow has no code path for {setup.device!r}; run with --device cpu or cuda")
    if setup.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise Unsupported("device", f"TensorFlow {version} sees no CUDA device; run with --device cpu")
    if setup.precision not in ("float32", "float64") and (setup.precision, setup.device) != ("tf32", "cuda"):
        raise Unsupported("precision", f"no {setup.precision} on {setup.device} here; use float32 or float64")
    if setup.mode not in MODES:
        raise Unsupported("mode", f"{setup.mode!r} is none of {', '.join(MODES)}")
    if variant.name not in LENETS and setup.mode != "function":
        raise Unsupported("variant", f"{variant.name} is defined in mode function only")
    threads = tf.config.threading
    if threads.get_intra_op_parallelism_threads() != setup.threads:
        try:
            threads.set_intra_op_parallelism_threads(setup.threads)
            threads.set_inter_op_parallelism_threads(setup.threads)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError as error:
            was = threads.get_intra_op_parallelism_threads()
            raise Unsupported("threads", f"{setup.threads} asked for in a process that started with {was}") from error
    tf.config.experimental.enable_tensor_float_32_execution(setup.precision == "tf32")
    dtype = "float64" if setup.precision == "float64" else "float32"
    keras.config.set_dtype_policy(dtype)
    # Keras keeps learning rates and losses in this type, whatever the layers' policy says.
    keras.config.set_floatx(dtype)
    keras.config.set_image_data_format("channels_last")
    trainer = MODES[setup.mode] if variant.name in LENETS else LayeredTrainer
    return trainer(variant, weights, setup)


def switches() -> dict[str, str]:
    return {
        "intra_op_threads": str(tf.config.threading.get_intra_op_parallelism_threads()),
        "inter_op_threads": str(tf.config.threading.get_inter_op_parallelism_threads()),
        "tf32": str(tf.config.experimental.tensor_float_32_execution_enabled()),
        "floatx": keras.config.floatx(),
        "xla_jit": str(tf.config.optimizer.get_jit() or "off"),
    }


def peak_device_bytes() -> int | None:
    if not tf.config.list_logical_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
