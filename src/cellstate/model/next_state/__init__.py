"""Next-state prediction: which state follows a sequence of states."""
