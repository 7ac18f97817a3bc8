"""The teacher that a project's spec names."""

from __future__ import annotations

from schemas.progress import Say
from schemas.project import Project
from schemas.spec import TeacherSettings
from synth import teachers
from synth.generators import fingerprints
from synth.teachers import opened

__all__ = ["identified", "opened", "scopes_of"]


def identified(project: Project, say: Say) -> TeacherSettings:
    """The spec's teacher with all that its call keys need (`synth.teachers.identified`), as it stands where nobody is
    asked."""
    if not project.spec.asks_teacher:
        return project.spec.teacher
    return teachers.identified(project.spec.teacher, say)


def scopes_of(project: Project, say: Say) -> list[str]:
    """The fingerprints under which the candidates of the present spec stand."""
    return list(fingerprints(project, identified(project, say)).values())
