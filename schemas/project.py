"""A project: a folder with a spec file in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from schemas.records import content_id
from schemas.spec import Spec

CERTIFICATE = "certificate.json"  # in the folder while the latest reviews certify rows


@dataclass(frozen=True)
class Project:
    """A folder with a spec file in it. Paths in the spec are relative to `folder`.

    `overrides` are the `KEY=VALUE` settings of one command, which `spec` already includes. They are kept so that their
    effect can be distinguished from a change of the file.
    """

    folder: Path
    spec: Spec
    overrides: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def spec_hash(self) -> str:
        """A hash of the whole effective spec, overrides included."""
        return content_id("spec", self.spec.model_dump(mode="json"))

    @property
    def without_review(self) -> Project:
        """The project as `run --no-review` sees it."""
        review = self.spec.review.model_copy(update={"enabled": False})
        return replace(self, spec=self.spec.model_copy(update={"review": review}))

    def inside(self, path: Path) -> str:
        """`path` relative to the project, so that the project can be moved; an absolute path if it is outside. A linked
        folder in the project is inside, wherever it points."""
        for place, folder in ((path.absolute(), self.folder.absolute()), (path.resolve(), self.folder.resolve())):
            if place.is_relative_to(folder) and ".." not in (rest := place.relative_to(folder)).parts:
                return rest.as_posix()
        return str(path.resolve())
