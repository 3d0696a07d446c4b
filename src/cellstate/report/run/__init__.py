"""The page of a run: scores against references, learning curves, figures of its task."""
