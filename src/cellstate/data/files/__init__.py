"""Users' own files."""
