"""Training: an epoch at a time, in an order that depends on nothing but its seed, each epoch reported."""
