"""The page of a run: learning curves, where the result stands, what its task shows."""
