"""Is this phone system able to carry calls? Checks that each look at one thing, run at the same time."""

from __future__ import annotations

from sip.doctor.context import Context
from sip.doctor.running import CHECKS, Check, Report, run

__all__ = ["CHECKS", "Check", "Context", "Report", "run"]
