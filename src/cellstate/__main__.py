"""``python -m cellstate`` is the command ``cellstate``."""

from cellstate.cli import main

if __name__ == "__main__":
    main()
