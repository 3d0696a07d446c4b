"""What people look at: the table at the end of a run."""
