"""Runs the checks of a class: each method without a leading underscore is one. Prints one line per check."""

import sys
import traceback


def run(suite, title):
    """Runs every check of `suite`; the process ends with status 1 if any fails."""
    print(title)
    names = [name for name in vars(type(suite)) if not name.startswith("_") and name != "create"]
    failed = 0
    for name in names:
        try:
            getattr(suite, name)()
            print(f"  ok    {name}")
        except Exception as error:  # every check is tried
            failed += 1
            print(f"  FAIL  {name}: {type(error).__name__}: {error}")
            traceback.print_exc(limit=3)
    sys.exit(bool(failed))
