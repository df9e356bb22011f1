"""The commands of ``mnist-exp``, a file each: its help line, its options and its function. ``cli`` lists them."""
