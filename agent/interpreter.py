"""How this very Python is started again, with the modules that this process found."""

from __future__ import annotations

import sys
from pathlib import Path


def python() -> list[str]:
    """Return the words before `-m MODULE` that start this interpreter with this code on its path.

    The Debian package runs isolated (`-IS`), with its modules in a folder that no interpreter
    searches by itself: there the folder is what is run (packaging/site_main.py).
    """
    if sys.flags.no_site:
        return [sys.executable, "-BIS", str(Path(__file__).parents[1])]
    return [sys.executable]
