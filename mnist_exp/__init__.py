"""A hyperparameter experiment tracker whose comparisons can be trusted.

The whole program, in a dozen lines::

    python -m mnist_exp model.units=10          one run: composed by Hydra, trained by Keras, tracked in MLflow
    python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01       a sweep of four
    python -m mnist_exp experiment=model_6      a file of experiments/
    mnist-exp ui                                compare them in the MLflow UI

    config = compose.to_run_config(composed)              # checked before anything starts
    dataset = datasets.load(config.data)                  # verified, named after what it is
    tracker = MlflowTracker.open(client, uri, experiment_id, name)
    result = run(config, job, dataset, tracker, on_epoch) # train, judge, draw, close the tracker
"""
