"""Version of the rules, and the constants that are part of them."""

from __future__ import annotations

from typing import Final

RULES_VERSION: Final = "1"
"""Raised when the same inputs could lead to another decision; a run keeps the version it started under."""

SETTLED_ALPHA: Final = 0.95
"""From this alpha on a blending seed carries its weight."""
DRIFT_DAMPING: Final = 0.8
"""How fast the host's expected progress fades, per epoch."""
DRIFT_WINDOW: Final = 5
"""Measured deltas the host's slope is the median of."""
DRIFT_MINIMUM: Final = 3
"""With fewer deltas the host is expected to stand still."""
PENALTY_FLOOR: Final = 0.1
"""Below this a penalty vanishes."""
LATE_COMMANDS: Final = 16
"""Expired commands remembered, so that a late EXECUTED still counts."""
DEGRADATION_POINTS: Final = 2.0
"""A fall of the objective that is worth an event, percentage points."""
FRACTION_REPORTS: Final = 10
"""Reports after which accuracies that never exceeded 1.0 look like fractions."""
SMALLEST_REFERENCE: Final = 1e-12
"""Stands for a reference loss of zero in relative improvements."""
LARGEST_POINTS: Final = 1e300
"""Improvements and penalties stay within ± this, so that sums of a few of them are finite."""
ROUNDING: Final = 1e-9
"""What averaging may lose to rounding: a steady 0.5 must reach a threshold of 0.5."""
QUEUED_OUTCOMES: Final = 256
"""Outcomes told between two reports that are remembered, the latest."""
LONGEST_DETAIL: Final = 200
"""Characters of an outcome's detail that the next reason repeats."""
