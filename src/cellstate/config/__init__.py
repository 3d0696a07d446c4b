"""Configs: found, composed, checked against the signatures they configure; Hydra's complaints in one line each."""
