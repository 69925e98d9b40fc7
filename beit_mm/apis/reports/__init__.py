"""A page about trainings: what was trained, whether it learned, and what it makes of images."""

from beit_mm.apis.reports.report import Report
from beit_mm.apis.reports.run import Run, find_runs, read_run
from beit_mm.apis.reports.verdict import are_repeats

__all__ = ['Report', 'Run', 'are_repeats', 'find_runs', 'read_run']
