"""The picture in the README: a screenshot of the top of the report page of ``experiment=seasonal``.

python scripts/readme_picture.py docs/figures/report.png
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cellstate

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = "1180,1180"  # pixels


def main() -> None:
    """Train, and take a screenshot of the page."""
    picture = Path(sys.argv[1]).resolve()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"no browser found; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        run = cellstate.train(["experiment=seasonal", f"hydra.run.dir={folder}/run", f"ledger={folder}/ledger.csv"])
        flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--window-size={SIZE}"]
        page = (run.folder.resolve() / "report.html").as_uri()
        subprocess.run([browser, *flags, f"--screenshot={picture}", page], check=True, capture_output=True)
    print(picture)


if __name__ == "__main__":
    main()
