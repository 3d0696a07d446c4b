"""Opening checkpoints, and evaluating and predicting with them."""
