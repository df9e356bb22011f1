"""Track a Keras script of your own: a run around it, and one callback more in ``fit``.

python examples/keras_script.py
mnist-exp ui
"""

import keras
from sklearn.datasets import load_digits

import mnist_exp

images, labels = load_digits(return_X_y=True)
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Rescaling(1 / 16),
        keras.layers.Dense(32, "relu"),
        keras.layers.Dense(10, "softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

with mnist_exp.track("32 units", experiment="my digits", params={"units": 32}) as tracker:
    model.fit(
        images, labels, epochs=5, validation_split=0.2, verbose=2, callbacks=[mnist_exp.TrackingCallback(tracker)]
    )

runs, epochs = mnist_exp.load_runs("32 units")
print(epochs[["epoch", "loss", "val_accuracy", "lr"]].to_string(index=False))
