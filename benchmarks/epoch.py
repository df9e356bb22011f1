"""How long one epoch of model_2 takes, validation included: the tutorial's way, Keras at its fastest, ours, JAX.

    make bench            medians over all repeats
    make bench QUICK=1    fewer of them

Every rival trains the same network (784-4-4-10, Adam, batches of 32 of 48,000 images) and validates on 12,000. They
take turns in one process, so that what else the machine does meets them all; the first epoch of each, which compiles,
is left out. Data: MNIST through MNIST_EXP_DATA, as everywhere.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import measure
import numpy as np

from mnist_exp.base.imports import import_tensorflow
from mnist_exp.data.datasets import Split

Rival = Callable[[int], list[float]]
"""Trains for so many epochs; gives the seconds that each took."""
Tree = Any
"""JAX's arrays, nested as its tree functions take them: JAX's own types are unknown where it is not installed."""


def plain_keras(split: Split) -> Rival:
    """As in the tutorial: arrays divided by 255, and fit."""
    return _keras(split, {})


def fastest_keras(split: Split) -> Rival:
    """Keras's own settings for speed: XLA, and an epoch's 1,500 steps in one execution."""
    return _keras(split, {"jit_compile": True, "steps_per_execution": 1500})


def ours(split: Split) -> Rival:
    """training.engine=compiled."""
    from mnist_exp.training import engine

    def run(epochs: int) -> list[float]:
        seconds: list[float] = []
        timer = _timer(seconds)
        engine.train(measure.config("experiment=model_2", f"training.epochs={epochs}"), split, [timer])
        return seconds

    return run


def jax_scan(split: Split) -> Rival:
    """The same arithmetic in JAX: lax.scan over the batches of an epoch, jitted whole, images kept as uint8."""
    import jax
    import jax.numpy as jnp

    from mnist_exp.training.engine import batch_order

    images, labels = jnp.asarray(split.train.images.reshape(-1, 784)), jnp.asarray(split.train.labels, jnp.int32)
    held_out = jnp.asarray(split.validation.images.reshape(-1, 784)), jnp.asarray(split.validation.labels, jnp.int32)
    keys = jax.random.split(jax.random.PRNGKey(17), 3)
    sizes = [(784, 4), (4, 4), (4, 10)]
    glorot = jax.nn.initializers.glorot_uniform()
    first = [(glorot(key, size), jnp.zeros(size[1])) for key, size in zip(keys, sizes, strict=True)]

    def logits(weights: Tree, pixels: Tree) -> Tree:
        hidden = pixels.astype(jnp.float32) / 255
        for kernel, bias in weights[:-1]:
            hidden = jax.nn.relu(hidden @ kernel + bias)
        return hidden @ weights[-1][0] + weights[-1][1]

    def score(weights: Tree, pixels: Tree, truth: Tree) -> Tree:
        said = logits(weights, pixels)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(said), truth[:, None], axis=1)
        return losses.mean(), (said.argmax(axis=1) == truth).mean()

    def step(state: Tree, rows: Tree) -> Tree:
        weights, mean, square, count = state
        (loss, right), gradient = jax.value_and_grad(score, has_aux=True)(weights, images[rows], labels[rows])
        count = count + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
        square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
        rate = 0.001 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        weights = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-7), weights, mean, square)
        return (weights, mean, square, count), (loss, right)

    @jax.jit  # type: ignore[untyped-decorator]
    def epoch(state: Tree, order: Tree) -> Tree:
        state, scores = jax.lax.scan(step, state, order)
        return state, scores, score(state[0], *held_out)

    def run(epochs: int) -> list[float]:
        zeros = jax.tree.map(jnp.zeros_like, first)
        state, seconds = (first, zeros, zeros, jnp.float32(0)), []
        for number in range(epochs):
            began = time.perf_counter()
            order = batch_order(17, number, len(labels)).reshape(-1, 32).astype(np.int32)
            state, *scores = epoch(state, order)
            jax.block_until_ready(scores)
            seconds.append(time.perf_counter() - began)
        return seconds

    return run


def _keras(split: Split, speed: dict[str, object]) -> Rival:
    import keras

    train, validation = split.train.images / np.float32(255), split.validation.images / np.float32(255)

    def run(epochs: int) -> list[float]:
        keras.utils.set_random_seed(17)
        dense = keras.layers.Dense
        layers = [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            dense(4, "relu"),
            dense(4, "relu"),
            dense(10, "softmax"),
        ]
        model = keras.Sequential(layers)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **speed)
        seconds: list[float] = []
        held_out, timer = (validation, split.validation.labels), _timer(seconds)
        model.fit(train, split.train.labels, epochs=epochs, validation_data=held_out, callbacks=[timer], verbose=0)
        return seconds

    return run


def _timer(seconds: list[float]) -> Any:
    """A Keras callback that appends what each epoch took."""
    import keras

    class Timer(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self._began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            seconds.append(time.perf_counter() - self._began)

    return Timer()


def main() -> None:
    rounds, epochs = (2, 3) if measure.is_quick(__doc__) else (6, 6)
    import_tensorflow()
    dataset, split = measure.data(measure.config("experiment=model_2"))
    makers = {"plain Keras fit": plain_keras, "Keras, fastest settings": fastest_keras, "ours": ours}
    try:
        import jax  # noqa: F401

        makers["JAX lax.scan"] = jax_scan
    except ImportError:
        print("JAX is not installed: pip install 'mnist-exp[bench]'", file=sys.stderr)
    ready = {name: make(split) for name, make in makers.items()}
    # The first epoch of each turn is left out: the very first compiles.
    rivals = {name: lambda run=run: run(epochs)[1:] for name, run in ready.items()}
    seconds = measure.in_turns(rivals, rounds)
    measure.report("epoch", "One epoch of model_2, validation included", seconds, "ours", dataset.name)


if __name__ == "__main__":
    main()
