"""A whole refresh of what is here, as a process of its own: `python -m orchestration.catch_up`.

`ctwa live` starts it where it cannot continue by itself: the warehouse is missing or must be built
again. So Dagster is loaded there and not in the worker. No API is asked and nothing is sent. What
failed is printed, one JSON text a line; exits as `ctwa refresh` does.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from ctwa.errors import CtwaError
from ctwa.files import UMASK
from ctwa.settings import load_settings
from orchestration.plan_compile import plan_of
from orchestration.refresh import refresh

_WAIT_SECONDS = 1800


def main() -> int:
    """The exit code."""
    os.umask(UMASK)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = load_settings()
        plan_of(settings)
        result = refresh(settings, sources=False, wait=_WAIT_SECONDS)
    except CtwaError as error:
        print(json.dumps(str(error)))
        return getattr(error, "exit_code", 1)
    for failure in result.failures:
        print(json.dumps(failure))
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
