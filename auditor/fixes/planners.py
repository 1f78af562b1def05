"""Which planner makes steps of which kind of fix. A kind that has none here is left to a person, with the control's own words."""

from __future__ import annotations

from auditor.fixes.plan import Planner, Together

PLANNERS: dict[type, Planner | Together] = {}
