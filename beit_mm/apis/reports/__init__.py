"""A page about trainings: what was trained, whether it learned, and what it makes of images."""

from beit_mm.apis.reports.report import Report
from beit_mm.apis.reports.run import Run, find_runs, read_run

__all__ = ['Report', 'Run', 'find_runs', 'read_run']
