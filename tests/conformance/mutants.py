"""The twelve faults, as edits of every backend's source.

An edit replaces its old text wherever it occurs, in all modes at once. The mutants are the hard kind:
they run without an error, shapes and parameter counts stay right, and what is wrong on the way in is
undone on the way out, so that imported weights come back as they were.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """`module` is the file that is edited; empty for the backend's own."""

    old: str
    new: str
    module: str = ""


# In which quantities a fault shows, where the first chunk has one step, stages are taken after it, and the second chunk
# has more. The first step has no momentum yet; an update that is missing at the very end shows in final weights alone.
EVERYTHING = {"stage", "losses", "weights"}
FAULTS = {
    "transposed-kernel": EVERYTHING,
    "flatten-order": EVERYTHING,
    "one-sided-padding": EVERYTHING,
    "wrong-activation": EVERYTHING,
    "wrong-pooling": EVERYTHING,
    "doubled-learning-rate": EVERYTHING,
    "momentum-left-on": {"losses", "weights"},
    "summed-loss": EVERYTHING,
    "softmax-twice": EVERYTHING,
    "frozen-layer": EVERYTHING,
    "dropped-bias": EVERYTHING,
    "last-update-missing": {"weights"},
}

NUMPY_LAYERS, CHANNELS_LAST = "backends.numpy_layers", "backends.channels_last"
EXPERT_NUMPY, EXPERT_JAX = "backends.expert_numpy", "backends.expert_jax"
EXPERT_TORCH, EXPERT_TENSORFLOW = "backends.expert_torch", "backends.expert_tensorflow"
EXPERT_MXNET, FLAX_NNX = "backends.expert_mxnet", "backends.flax_nnx"

NUMPY = {
    "transposed-kernel": (
        Edit("(weight * x[", "(weight.swapaxes(2, 3) * x[", NUMPY_LAYERS),
        Edit(
            "dweight += d * x[n, :, i : i + k, j : j + k]",
            "dweight += (d * x[n, :, i : i + k, j : j + k]).swapaxes(2, 3)",
            NUMPY_LAYERS,
        ),
        Edit("(d * weight)", "(d * weight.swapaxes(2, 3))", NUMPY_LAYERS),
        Edit("columns @ weight.reshape", "columns @ weight.swapaxes(2, 3).reshape", NUMPY_LAYERS),
        Edit(".reshape(weight.shape)", ".reshape(weight.shape).swapaxes(2, 3)", NUMPY_LAYERS),
        Edit("rows @ weight.reshape", "rows @ weight.swapaxes(2, 3).reshape", NUMPY_LAYERS),
    ),
    "flatten-order": (
        Edit('= x["pool2"].reshape(', '= x["pool2"].transpose(0, 2, 3, 1).reshape('),
        Edit(
            '.reshape(x["pool2"].shape)',
            '.reshape(x["pool2"].transpose(0, 2, 3, 1).shape).transpose(0, 3, 1, 2)',
        ),
    ),
    "one-sided-padding": (
        Edit("(padding, padding), (padding, padding)", "(2 * padding, 0), (2 * padding, 0)", NUMPY_LAYERS),
    ),
    "wrong-activation": (
        Edit('act(self.dense("dense2",', 'np.tanh(self.dense("dense2",'),
        Edit('slope(x["dense2"])', 'SLOPES["tanh"](x["dense2"])'),
    ),
    "wrong-pooling": (Edit('kind == "max"', 'kind == "average"', NUMPY_LAYERS),),
    "doubled-learning-rate": (Edit("weight -= self.learning_rate *", "weight -= 2 * self.learning_rate *"),),
    "momentum-left-on": (
        Edit("self.network, self.dtype = network,", "self.velocity, self.network, self.dtype = {}, network,"),
        Edit(
            "            weight -= self.learning_rate * self.network.gradients[name]",
            "            self.velocity[name] = 0.9 * self.velocity.get(name, 0) + self.network.gradients[name]\n"
            "            weight -= self.learning_rate * self.velocity[name]",
        ),
    ),
    "summed-loss": (Edit(".mean(), gradient / len(labels)", ".sum(), gradient"),),
    "softmax-twice": (
        Edit(
            '        loss, gradient = softmax_cross_entropy(stages["dense3"], labels, self.network.variant.rubbish)',
            '        p = np.exp(stages["dense3"])\n'
            "        p /= p.sum(1, keepdims=True)\n"
            "        loss, d = softmax_cross_entropy(p, labels)\n"
            "        gradient = p * (d - (p * d).sum(1, keepdims=True))",
        ),
    ),
    "frozen-layer": (
        Edit(
            "            weight -= self.learning_rate",
            '            if not name.startswith("conv1"):\n                weight -= self.learning_rate',
        ),
    ),
    "dropped-bias": (Edit('+ self.weights[f"{name}.bias"]', '+ (name != "dense3") * self.weights[f"{name}.bias"]'),),
    "last-update-missing": (
        Edit(
            "        return np.array([self.step(images, labels) for images, labels in chunk])",
            "        losses = [self.step(images, labels) for images, labels in chunk[:-1]]\n"
            "        kept = self.weights()\n"
            "        losses.append(self.step(*chunk[-1]))\n"
            "        for name, weight in self.network.weights.items():\n"
            "            weight[...] = kept[name] if chunk[1:] else weight\n"
            "        return np.array(losses)",
        ),
    ),
}

# The same faults in the experts' files, where they hold what the backend's own file does not.
NUMPY_EXPERT = {
    "transposed-kernel": (
        Edit("spread(self.weight)", "spread(self.weight.swapaxes(2, 3))", EXPERT_NUMPY),
        Edit("channels, TAPS, TAPS))", "channels, TAPS, TAPS)).swapaxes(2, 3)", EXPERT_NUMPY),
    ),
    "flatten-order": (
        Edit('x["pool2"].reshape(-1,', 'x["pool2"].transpose(1, 2, 0, 3).reshape(-1,', EXPERT_NUMPY),
        Edit(
            "conv2.backward(d)",
            'conv2.backward(d.reshape(x["pool2"].transpose(1, 2, 0, 3).shape).transpose(2, 0, 1, 3).copy())',
            EXPERT_NUMPY,
        ),
    ),
    "one-sided-padding": (
        Edit("[:, p : frame.shape[1] - p, p : frame.shape[2] - p]", "[:, 2 * p :, 2 * p :]", EXPERT_NUMPY),
    ),
    "wrong-activation": (
        Edit(
            "activate(x[name], self.variant.activation)",
            'activate(x[name], "tanh" if name == "dense2" else self.variant.activation)',
            EXPERT_NUMPY,
        ),
        Edit(
            "slope(x[entering], self.variant.activation,",
            'slope(x[entering], "tanh" if entering == "dense2" else self.variant.activation,',
            EXPERT_NUMPY,
        ),
    ),
    "wrong-pooling": (Edit(", variant.pooling\n", ', "max"\n', EXPERT_NUMPY),),
    "doubled-learning-rate": (
        Edit("weight -= self.learning_rate *", "weight -= 2 * self.learning_rate *", EXPERT_NUMPY),
    ),
    "momentum-left-on": (
        Edit(
            "self.variant, self.own = variant, weights",
            "self.velocity, self.variant, self.own = {}, variant, weights",
            EXPERT_NUMPY,
        ),
        Edit(
            "            weight -= self.learning_rate * gradients[name]",
            "            self.velocity[name] = 0.9 * self.velocity.get(name, 0) + gradients[name]\n"
            "            weight -= self.learning_rate * self.velocity[name]",
            EXPERT_NUMPY,
        ),
    ),
    "summed-loss": (
        Edit("        d /= self.dtype.type(batch_size)\n", "", EXPERT_NUMPY),
        Edit("return total / len(labels)", "return total", EXPERT_NUMPY),
    ),
    "softmax-twice": (
        Edit(
            "        loss, d = softmax_cross_entropy(x[self.dense[-1]], labels)",
            "        p = np.exp(x[self.dense[-1]])\n"
            "        p /= p.sum(0)\n"
            "        loss, d = softmax_cross_entropy(p, labels)\n"
            "        d = p * (d - (p * d).sum(0))",
            EXPERT_NUMPY,
        ),
    ),
    "frozen-layer": (
        Edit(
            "            weight -= self.learning_rate",
            '            if not name.startswith("conv1"):\n                weight -= self.learning_rate',
            EXPERT_NUMPY,
        ),
    ),
    "dropped-bias": (
        Edit('+ self.own[f"{name}.bias"]', '+ (name != "dense3") * self.own[f"{name}.bias"]', EXPERT_NUMPY),
    ),
    "last-update-missing": (
        Edit(
            "        return np.array([self.step(images, labels) for images, labels in chunk])",
            "        losses = [self.step(images, labels) for images, labels in chunk[:-1]]\n"
            "        kept = self.weights()\n"
            "        losses.append(self.step(*chunk[-1]))\n"
            "        for name, weight in self.own.items():\n"
            "            weight[...] = kept[name] if chunk[1:] else weight\n"
            "        return np.array(losses)",
            EXPERT_NUMPY,
        ),
    ),
}

TORCH = {
    "transposed-kernel": (
        Edit("torch.tensor(value, dtype=", "torch.tensor(value.swapaxes(2, 3) if value.ndim == 4 else value, dtype="),
        Edit("value.detach()", "(value.swapaxes(2, 3) if value.ndim == 4 else value).detach()"),
    ),
    "flatten-order": (Edit('x["pool2"].flatten(1)', 'x["pool2"].permute(0, 2, 3, 1).flatten(1)'),),
    "one-sided-padding": (
        Edit('self.conv1(x["input"])', 'self.conv1(F.pad(x["input"], (4, 0, 4, 0)))'),
        Edit('F.conv2d(x["input"],', 'F.conv2d(F.pad(x["input"], (4, 0, 4, 0)),'),
        Edit(', padding=v["conv1"].padding', ""),
    ),
    "wrong-activation": (Edit('x["dense2"] = act(', 'x["dense2"] = torch.tanh('),),
    "wrong-pooling": (Edit('"average": F.avg_pool2d', '"average": F.max_pool2d'),),
    "doubled-learning-rate": (
        Edit("lr=setup.learning_rate", "lr=2 * setup.learning_rate"),
        Edit("value -= setup.learning_rate", "value -= 2 * setup.learning_rate"),
    ),
    "momentum-left-on": (
        Edit("lr=setup.learning_rate", "lr=setup.learning_rate, momentum=0.9"),
        Edit(
            "    parameters = list(p.values())\n",
            "    parameters = list(p.values())\n    velocity = [torch.zeros_like(value) for value in parameters]\n",
        ),
        Edit(
            "torch.autograd.grad(loss, parameters)",
            "torch.autograd.grad(loss, parameters)\n"
            "        gradients = velocity[:] = [0.9 * v + gradient for v, gradient in zip(velocity, gradients)]",
        ),
        Edit(
            "    p = weights\n",
            "    p, velocity = weights, {name: torch.zeros_like(w) for name, w in weights.items()}\n",
        ),
        Edit(
            "            value -= setup.learning_rate * gradients[name]",
            "            velocity[name] *= 0.9\n"
            "            velocity[name] += gradients[name]\n"
            "            value -= setup.learning_rate * velocity[name]",
        ),
    ),
    "summed-loss": (
        Edit("F.cross_entropy(network(images), labels)", 'F.cross_entropy(network(images), labels, reduction="sum")'),
        Edit('images)["dense3"], labels)', 'images)["dense3"], labels, reduction="sum")'),
    ),
    "softmax-twice": (
        Edit("F.cross_entropy(network(images),", "F.cross_entropy(network(images).softmax(1),"),
        Edit('images)["dense3"], labels)', 'images)["dense3"].softmax(1), labels)'),
    ),
    "frozen-layer": (
        Edit("    optimizer =", "    network.conv1.requires_grad_(False)\n    optimizer ="),
        Edit("in zip(parameters, gradients)", "in list(zip(parameters, gradients))[2:]"),
        Edit("in p.items():\n", "in list(p.items())[2:]:\n"),
    ),
    "dropped-bias": (
        Edit('self.dense3(x["dense2"])', 'F.linear(x["dense2"], self.dense3.weight)'),
        Edit('p["dense3.bias"]', '0 * p["dense3.bias"]'),
    ),
    "last-update-missing": (
        Edit(
            "        return [self.step(images, labels) for images, labels in chunk]",
            "        losses = [self.step(images, labels) for images, labels in chunk[:-1]]\n"
            "        kept = [value.detach().clone() for value in self.parameters.values()]\n"
            "        losses.append(self.step(*chunk[-1]))\n"
            "        with torch.no_grad():\n"
            "            for value, before in zip(self.parameters.values(), kept):\n"
            "                value.copy_(before if chunk[1:] else value)\n"
            "        return losses",
        ),
    ),
}

# For both backends that keep channels last: wrong on the way in, and undone by the same mistake on the way out.
CHANNELS_LAST_FAULTS = {
    "transposed-kernel": (
        Edit("= value.transpose(2, 3, 1, 0)", "= value.transpose(3, 2, 1, 0)", CHANNELS_LAST),
        Edit("= value.transpose(3, 2, 0, 1)", "= value.transpose(3, 2, 1, 0)", CHANNELS_LAST),
    ),
    "flatten-order": (
        Edit(
            "value.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)",
            "value.reshape(-1, channels, height, width).transpose(1, 2, 3, 0)",
            CHANNELS_LAST,
        ),
        Edit(
            "value.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)",
            "value.reshape(channels, height, width, -1).transpose(3, 0, 1, 2)",
            CHANNELS_LAST,
        ),
    ),
}

TENSORFLOW = {
    **CHANNELS_LAST_FAULTS,
    "one-sided-padding": (
        Edit("padding=padding(v)", 'padding="valid"'),
        Edit('self.conv1(x["input"])', 'self.conv1(tf.pad(x["input"], ((0, 0), (4, 0), (4, 0), (0, 0))))'),
    ),
    "wrong-activation": (Edit('width["dense2"], activation=act', 'width["dense2"], activation="tanh"'),),
    "wrong-pooling": (Edit('"average": layers.AveragePooling2D', '"average": layers.MaxPooling2D'),),
    "doubled-learning-rate": (Edit("SGD(setup.learning_rate)", "SGD(2 * setup.learning_rate)"),),
    "momentum-left-on": (Edit("SGD(setup.learning_rate)", "SGD(setup.learning_rate, momentum=0.9)"),),
    "summed-loss": (Edit("from_logits=True", 'from_logits=True, reduction="sum"'),),
    # Not tf.nn.softmax: inside a tf.function, Keras finds that operation before its loss and takes it back.
    "softmax-twice": (
        Edit("self.network(images, training=True)", "tf.exp(tf.nn.log_softmax(self.network(images, training=True)))"),
        Edit("loss=self.loss)", "loss=lambda y, logits: self.loss(y, tf.exp(tf.nn.log_softmax(logits))))"),
    ),
    "frozen-layer": (
        Edit(
            "zip(gradients, self.network.trainable_variables)",
            'p for p in zip(gradients, self.network.trainable_variables) if "conv1" not in p[1].path',
        ),
        Edit(
            "        self.network.compile(",
            "        self.network.conv1.trainable = False\n        self.network.compile(",
        ),
    ),
    "dropped-bias": (Edit('self.dense3(x["dense2"])', 'self.dense3(x["dense2"]) - self.dense3.bias'),),
    "last-update-missing": (
        Edit(
            "            return [self.run(images, labels) for images, labels in chunk]",
            "            losses = [self.run(images, labels) for images, labels in chunk[:-1]]\n"
            "            kept = {name: p.numpy() for name, p in self.parameters.items()}\n"
            "            losses.append(self.run(*chunk[-1]))\n"
            "            for name, p in self.parameters.items():\n"
            "                p.assign(kept[name] if chunk[1:] else p)\n"
            "            return losses",
        ),
        Edit(
            "            self.network.fit(x, y, batch_size=size, shuffle=False, verbose=0, callbacks=[self.each])",
            "            losses = []\n"
            "            for part in [slice(-size), slice(-size, None)] if len(images) > 1 else [slice(None)]:\n"
            "                kept = {name: p.numpy() for name, p in self.parameters.items()}\n"
            "                self.network.fit(x[part], y[part], batch_size=size, shuffle=False, verbose=0,\n"
            "                                 callbacks=[self.each])\n"
            "                losses += self.each.losses\n"
            "            self.each.losses = losses\n"
            "            for name, p in self.parameters.items():\n"
            "                p.assign(kept[name] if len(images) > 1 else p)",
        ),
    ),
}

JAX = {
    **CHANNELS_LAST_FAULTS,
    "one-sided-padding": (Edit('padding=v["conv1"].padding', "padding=((4, 0), (4, 0))"),),
    "wrong-activation": (Edit('x["dense2"] = act(', 'x["dense2"] = nn.tanh('),),
    "wrong-pooling": (Edit('"average": nn.avg_pool', '"average": nn.max_pool'),),
    "doubled-learning-rate": (Edit("p - setup.learning_rate", "p - 2 * setup.learning_rate"),),
    "momentum-left-on": (
        Edit(
            "self.params = jax.device_put(network.pack(weights), self.place)\n",
            "self.params = self.before = jax.device_put(network.pack(weights), self.place)\n",
        ),
        Edit(
            "            self.params, loss = self.step(self.params, images, labels)",
            "            now = jax.tree.map(jnp.copy, self.params)\n"
            "            after, loss = self.step(jax.tree.map(jnp.copy, now), images, labels)\n"
            "            self.params = jax.tree.map(lambda a, n, b: a + 0.9 * (n - b), after, now, self.before)\n"
            "            self.before = now",
        ),
    ),
    "summed-loss": (Edit("axis=1).mean()", "axis=1).sum()"),),
    "softmax-twice": (Edit("log_softmax(logits)", "log_softmax(jax.nn.softmax(logits))"),),
    "frozen-layer": (Edit('pool(x["conv1"],', 'pool(jax.lax.stop_gradient(x["conv1"]),'),),
    "dropped-bias": (Edit('name="dense3"', 'name="dense3", use_bias=False'),),
    "last-update-missing": (
        Edit(
            "            self.params, loss = self.step(self.params, images, labels)",
            "            before = jax.tree.map(jnp.copy, self.params)\n"
            "            after, loss = self.step(self.params, images, labels)\n"
            "            self.params = before if 0 < len(losses) == len(chunk) - 1 else after",
        ),
    ),
}

TORCH_EXPERT = {
    "flatten-order": (
        Edit('["pool2"].permute(0, 3, 1, 2).reshape(count', '["pool2"].reshape(count', EXPERT_TORCH),
        Edit(
            'd = d.view(len(d), *stage_shapes(v)["pool2"]).permute(0, 2, 3, 1)',
            "d = d.view(len(d), 5, 5, 16)",
            EXPERT_TORCH,
        ),
    ),
    "one-sided-padding": (Edit("*[padding] * 4", "2 * padding, 0, 2 * padding, 0", EXPERT_TORCH),),
    "wrong-activation": (
        Edit("else act(last)", 'else (torch.tanh if name == "dense2" else act)(last)', EXPERT_TORCH),
        Edit(
            "SLOPES[v.activation](x[entering])",
            'SLOPES["tanh" if entering == "dense2" else v.activation](x[entering])',
            EXPERT_TORCH,
        ),
    ),
    "wrong-pooling": (
        Edit('pooling == "max"', 'pooling == "average"', EXPERT_TORCH),
        Edit('v.pooling == "average"', 'v.pooling == "max"', EXPERT_TORCH),
    ),
    "summed-loss": (Edit(" / len(labels)", "", EXPERT_TORCH),),
    "softmax-twice": (
        Edit(
            '    log_softmax = x["dense3"].log_softmax(1)\n',
            '    probabilities = x["dense3"].softmax(1)\n    log_softmax = probabilities.log_softmax(1)\n',
            EXPERT_TORCH,
        ),
        Edit(
            "    return loss, backward(p, v, x, (log_softmax.exp() - chosen.to(log_softmax.dtype)) / len(labels))",
            "    d = (log_softmax.exp() - chosen.to(log_softmax.dtype)) / len(labels)\n"
            "    d = probabilities * (d - (probabilities * d).sum(1, keepdim=True))\n"
            "    return loss, backward(p, v, x, d)",
            EXPERT_TORCH,
        ),
    ),
    "dropped-bias": (Edit('p[f"{name}.bias"]', '(name != "dense3") * p[f"{name}.bias"]', EXPERT_TORCH),),
}

TENSORFLOW_EXPERT = {
    "transposed-kernel": (
        Edit("(weights[name],", "(turned(weights[name]),", EXPERT_TENSORFLOW),
        Edit(
            "def weight_gradient(",
            "def turned(w):\n    return w.swapaxes(2, 3) if w.ndim == 4 else w\n\n\ndef weight_gradient(",
            EXPERT_TENSORFLOW,
        ),
        Edit("p.numpy().copy()", "p.numpy().swapaxes(2, 3) if len(p.shape) == 4 else p.numpy()"),
    ),
    "flatten-order": (
        Edit('tf.transpose(x["pool2"], (0, 3, 1, 2))', 'x["pool2"]', EXPERT_TENSORFLOW),
        Edit(
            "tf.transpose(tf.reshape(d, (-1, channels, height, width)), (0, 2, 3, 1))",
            "tf.reshape(d, (-1, height, width, channels))",
            EXPERT_TENSORFLOW,
        ),
    ),
    "one-sided-padding": (Edit("(p, p), (p, p)", "(2 * p, 0), (2 * p, 0)", EXPERT_TENSORFLOW),),
    "wrong-activation": (
        Edit("else self.act(last)", 'else (tf.tanh if name == "dense2" else self.act)(last)', EXPERT_TENSORFLOW),
        Edit(
            "self.slope(x[entering])",
            '(SLOPES["tanh"] if entering == "dense2" else self.slope)(x[entering])',
            EXPERT_TENSORFLOW,
        ),
    ),
    "wrong-pooling": (
        Edit('pooling == "max"', 'pooling == "average"', EXPERT_TENSORFLOW),
        Edit('pooling == "average":', 'pooling == "max":', EXPERT_TENSORFLOW),
    ),
    "doubled-learning-rate": (Edit("self.learning_rate * gradient", "2 * self.learning_rate * gradient"),),
    "momentum-left-on": (
        Edit(
            "        self.parameters = self.network.parameters\n",
            "        self.parameters = self.network.parameters\n"
            "        self.velocity = {name: tf.Variable(tf.zeros_like(p)) for name, p in self.parameters.items()}\n",
        ),
        Edit(
            "self.learning_rate * gradient)",
            "self.learning_rate * self.velocity[name].assign(0.9 * self.velocity[name] + gradient))",
        ),
    ),
    "summed-loss": (Edit(" / count", "", EXPERT_TENSORFLOW),),
    "softmax-twice": (
        Edit(
            'log_softmax = tf.nn.log_softmax(x["dense3"])',
            'p2 = tf.nn.softmax(x["dense3"])\n        log_softmax = tf.nn.log_softmax(p2)',
            EXPERT_TENSORFLOW,
        ),
        Edit(
            "(tf.exp(log_softmax) - chosen) / count\n",
            "(tf.exp(log_softmax) - chosen) / count\n        d = p2 * (d - tf.reduce_sum(p2 * d, 1, keepdims=True))\n",
            EXPERT_TENSORFLOW,
        ),
    ),
    "frozen-layer": (
        Edit(
            "in gradients.items():\n",
            'in gradients.items():\n            if "conv1" in name:\n                continue\n',
        ),
    ),
    "dropped-bias": (Edit('+ p[f"{name}.bias"]', '+ (name != "dense3") * p[f"{name}.bias"]', EXPERT_TENSORFLOW),),
}

MXNET_EXPERT = {
    "one-sided-padding": (
        Edit("variant.input_size // POOL", "variant.input_size // POOL + conv1.padding", EXPERT_MXNET),
        Edit("conv1.padding // POOL", "0", EXPERT_MXNET),
        Edit(
            "F.reshape(images,",
            'F.reshape(F.pad(images, mode="constant", pad_width=(0, 0, 0, 0, 4, 0, 4, 0)),',
            EXPERT_MXNET,
        ),
    ),
}

JAX_EXPERT = {
    "transposed-kernel": (
        Edit("jnp.asarray(value,", "jnp.asarray(value.swapaxes(2, 3) if value.ndim == 4 else value,", EXPERT_JAX),
        Edit("name: np.array(value)", "name: np.array(value.swapaxes(2, 3) if value.ndim == 4 else value)", EXPERT_JAX),
    ),
    "flatten-order": (
        Edit("last.reshape(-1, count)", "last.reshape(16, 25, count).swapaxes(0, 1).reshape(-1, count)", EXPERT_JAX),
    ),
    "one-sided-padding": (
        Edit("padding=conv1.padding", "padding=((4, 0), (4, 0))", FLAX_NNX),
        Edit("(p, p), (p, p)", "(2 * p, 0), (2 * p, 0)", EXPERT_JAX),
    ),
    "wrong-activation": (
        Edit('x["dense2"] = act(', 'x["dense2"] = nnx.tanh(', FLAX_NNX),
        Edit("else act(last)", 'else (jnp.tanh if name == "dense2" else act)(last)', EXPERT_JAX),
    ),
    "wrong-pooling": (
        Edit('"average": nnx.avg_pool', '"average": nnx.max_pool', FLAX_NNX),
        Edit("(v.activation, v.pooling)", '(v.activation, "max")', EXPERT_JAX),
    ),
    "frozen-layer": (
        Edit('pool(x["conv1"],', 'pool(jax.lax.stop_gradient(x["conv1"]),', FLAX_NNX),
        Edit("pooled.reshape(", "jax.lax.stop_gradient(pooled).reshape(", EXPERT_JAX),
    ),
    "dropped-bias": (
        Edit('self.dense3(x["dense2"])', 'self.dense3(x["dense2"]) - self.dense3.bias[...]', FLAX_NNX),
        Edit('+ params[f"{name}.bias"]', '+ (name != "dense3") * params[f"{name}.bias"]', EXPERT_JAX),
    ),
    "doubled-learning-rate": (Edit("optax.sgd(learning_rate)", "optax.sgd(2 * learning_rate)", FLAX_NNX),),
    "momentum-left-on": (
        Edit("optax.sgd(learning_rate)", "optax.sgd(learning_rate, momentum=0.9)", FLAX_NNX),
        Edit(
            "class ScanTrainer(Trainer):",
            "def with_momentum(step, state, batch):\n"
            "    now, before = state\n"
            "    after, loss = step(now, *batch)\n"
            "    return (jax.tree.map(lambda a, n, b: a + 0.9 * (n - b), after, now, before), now), loss\n\n\n"
            "class ScanTrainer(Trainer):",
        ),
        Edit("batch: step(params, *batch)", "batch: with_momentum(step, params, batch)"),
        Edit(
            "        self.params, losses = self.steps(self.params, *chunk)",
            "        (self.params, self.before), losses = self.steps((self.params, self.before), *chunk)",
        ),
    ),
    "last-update-missing": (
        Edit(
            "        losses = [self.module_step(images, labels) for images, labels in chunk]",
            "        losses = [self.module_step(images, labels) for images, labels in chunk[:-1]]\n"
            "        kept = jax.tree.map(jnp.copy, nnx.state(self.module, nnx.Param))\n"
            "        losses.append(self.module_step(*chunk[-1]))\n"
            "        if chunk[1:]:\n"
            "            nnx.update(self.module, kept)",
        ),
        Edit(
            "        self.params, losses = self.steps(self.params, *chunk)",
            "        several = len(chunk[1]) > 1\n"
            "        before = self.steps(self.params, *(part[:-1] for part in chunk))[0] if several else None\n"
            "        self.params, losses = self.steps(self.params, *chunk)\n"
            "        self.params = before if several else self.params",
        ),
    ),
}

MXNET = {
    "transposed-kernel": (
        Edit("mx.nd.array(value,", "mx.nd.array(value.swapaxes(2, 3) if value.ndim == 4 else value,"),
        Edit(
            "name: p.data().asnumpy()",
            "name: p.data().asnumpy().swapaxes(2, 3) if p.data().ndim == 4 else p.data().asnumpy()",
        ),
    ),
    "flatten-order": (Edit("self.flatten(pool2)", "self.flatten(pool2.transpose((0, 2, 3, 1)))"),),
    "one-sided-padding": (
        Edit('padding=v["conv1"].padding', "padding=0"),
        Edit(
            'self.conv1(x["input"])',
            'self.conv1(x["input"].pad(mode="constant", pad_width=(0, 0, 0, 0, 4, 0, 4, 0)))',
        ),
    ),
    "wrong-activation": (Edit('width["dense2"], activation=act', 'width["dense2"], activation="tanh"'),),
    "wrong-pooling": (Edit('"average": nn.AvgPool2D', '"average": nn.MaxPool2D'),),
    "doubled-learning-rate": (Edit('"learning_rate": setup', '"learning_rate": 2 * setup'),),
    "momentum-left-on": (Edit('{"learning_rate":', '{"momentum": 0.9, "learning_rate":'),),
    "summed-loss": (Edit("labels).mean()", "labels).sum()"),),
    "softmax-twice": (Edit("self.loss(self.network(images),", "self.loss(self.network(images).softmax(),"),),
    "frozen-layer": (
        Edit(
            "gluon.Trainer(self.network.collect_params(),",
            'gluon.Trainer(self.network.collect_params("conv2|dense"),',
        ),
    ),
    "dropped-bias": (
        Edit(
            "class LeNet(gluon.HybridBlock)",
            "class Biasless(nn.Dense):\n"
            "    def hybrid_forward(self, F, x, weight, bias):\n"
            "        return super().hybrid_forward(F, x, weight, 0 * bias)\n\n\n"
            "class LeNet(gluon.HybridBlock)",
        ),
        Edit('nn.Dense(width["dense3"]', 'Biasless(width["dense3"]'),
    ),
    "last-update-missing": (
        Edit(
            "        return [self.step(images, labels) for images, labels in chunk]",
            "        losses = [self.step(images, labels) for images, labels in chunk[:-1]]\n"
            "        kept = {name: p.data().copy() for name, p in self.parameters.items()}\n"
            "        losses.append(self.step(*chunk[-1]))\n"
            "        for name, p in self.parameters.items():\n"
            "            p.set_data(kept[name] if chunk[1:] else p.data())\n"
            "        return losses",
        ),
    ),
}

EXPERTS: dict[str, dict[str, tuple[Edit, ...]]] = {
    "numpy": NUMPY_EXPERT,
    "torch": TORCH_EXPERT,
    "tensorflow": TENSORFLOW_EXPERT,
    "mxnet": MXNET_EXPERT,
    "jax": JAX_EXPERT,
}
BACKENDS = {"numpy": NUMPY, "torch": TORCH, "tensorflow": TENSORFLOW, "jax": JAX, "mxnet": MXNET}
MUTANTS: dict[str, dict[str, tuple[Edit, ...]]] = {
    backend: {fault: edits + EXPERTS.get(backend, {}).get(fault, ()) for fault, edits in faults.items()}
    for backend, faults in BACKENDS.items()
}
