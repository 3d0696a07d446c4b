"""Hyperparameter searches: sweeps whose jobs are proposed by Optuna from the results of earlier ones."""
