"""Images and labels: read, verified, named, divided. The entry is :func:`mnist_exp.data.datasets.load`."""
