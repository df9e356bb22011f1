"""What becomes of runs when the network, the server or a neighbour misbehaves."""
