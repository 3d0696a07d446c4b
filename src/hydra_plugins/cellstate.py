"""The sweepers of cellstate where Hydra looks for plugins: it takes none from elsewhere."""

from cellstate import sweep


class GridSweeper(sweep.GridSweeper):
    """Every combination of the values on the command line; see ``cellstate.sweep.grid``."""
