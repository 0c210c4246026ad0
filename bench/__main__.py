"""`python -m bench`: every benchmark; the exit code is 1 if a bound is exceeded."""

from __future__ import annotations

import sys

from bench import conditions, events, page, scrape

sys.exit(max([scrape.main(), events.main(), page.main(), conditions.main()]))
