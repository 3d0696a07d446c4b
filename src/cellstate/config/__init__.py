"""Find, compose and check configs, and turn Hydra's errors into one-line messages."""
