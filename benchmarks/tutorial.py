"""The six models as a plain script in the tutorial's manner, with MLflow's autologging: the rival in models.py.

python benchmarks/tutorial.py [EPOCHS]      EPOCHS for every model instead of the tutorial's own numbers
"""

import os
import sys

import keras
import mlflow
import numpy as np
from sklearn.model_selection import train_test_split

SCHEDULES = {"model_3": lambda epoch: 1e-4 * 10 ** (epoch / 20)}
MODELS = {  # divide by 255, units, learning rate, epochs
    "model_1": (False, 4, 0.001, 20),
    "model_2": (True, 4, 0.001, 20),
    "model_3": (True, 4, 0.0001, 80),
    "model_4": (True, 4, 0.01, 100),
    "model_5": (True, 4, 0.001, 200),
    "model_6": (True, 10, 0.001, 100),
}

with np.load(os.environ["MNIST_EXP_DATA"]) as arrays:
    images, labels, test_images, test_labels = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
train_x, val_x, train_y, val_y = train_test_split(images, labels, test_size=0.2, random_state=17)

mlflow.autolog()
for name, (normalize, units, rate, epochs) in MODELS.items():
    keras.utils.set_random_seed(17)
    scale = np.float32(255) if normalize else np.float32(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.LearningRateScheduler(SCHEDULES[name])] if name in SCHEDULES else []
    with mlflow.start_run(run_name=name):
        model.fit(
            train_x / scale,
            train_y,
            epochs=int(sys.argv[1]) if len(sys.argv) > 1 else epochs,
            validation_data=(val_x / scale, val_y),
            callbacks=callbacks,
            verbose=0,
        )
        print(name, model.evaluate(test_images / scale, test_labels, verbose=0))
