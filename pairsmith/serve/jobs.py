"""Jobs: asked for, queued, run, stopped, gone on with."""

from __future__ import annotations

from pairsmith.serve.job import COMMANDS, ENDED, Job, JobOptions, NoSuchJob, ProjectBusy, State

__all__ = ["COMMANDS", "ENDED", "Job", "JobOptions", "NoSuchJob", "ProjectBusy", "State"]
