"""The commands of ``mnist-exp``, each as a user calls it."""
