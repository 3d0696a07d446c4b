"""Next-state prediction: the next state of a sequence of states."""
