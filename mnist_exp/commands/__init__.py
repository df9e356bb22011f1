"""The commands of ``mnist-exp`` that need more than a few lines; each imported when it is called."""
