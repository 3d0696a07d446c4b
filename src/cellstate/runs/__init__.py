"""Run folders: manifest, lock, ledger, provenance, and the state of the process during a run."""
