"""The calls of the API. Written by `python -m pairsmith.serve.write_client`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pairsmith.client import shapes
from pairsmith.client.http import Http, asks


class Calls(Http):
    """One method for each."""

    @asks("GET", "/me")
    def me(self) -> shapes.Me:
        """Who you are here."""

    @asks("GET", "/users")
    def users(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.User]:
        """Everybody with an account."""

    @asks("PUT", "/users/{user}/role")
    def set_role(self, user: str, body: shapes.Membership) -> shapes.User:
        """Give, change or take a role."""

    @asks("DELETE", "/users/{user}")
    def disable_user(self, user: str) -> None:
        """Close an account: its sessions and keys end, its name stays in the audit."""

    @asks("POST", "/invitations")
    def invite(self, body: shapes.Invite, *, idempotency_key: str | None = None) -> shapes.Link:
        """A link for one person, to a role in all projects; it works once, within a week."""

    @asks("POST", "/projects/{project}/invitations")
    def invite_to_project(
        self, project: str, body: shapes.Invite, *, idempotency_key: str | None = None
    ) -> shapes.Link:
        """A link for one person, to a role in this project."""

    @asks("GET", "/keys")
    def keys(
        self, *, everybody: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Key]:
        """Your API keys, or everybody's for an owner; never the secrets."""

    @asks("POST", "/keys")
    def make_key(self, body: shapes.NewKey, *, idempotency_key: str | None = None) -> shapes.KeyOnce:
        """A new key for programs, shown this one time."""

    @asks("DELETE", "/keys/{key}")
    def revoke_key(self, key: str) -> None:
        """End one of your keys; an owner ends anybody's."""

    @asks("GET", "/sessions")
    def sessions(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.SessionShown]:
        """Where you are signed in."""

    @asks("DELETE", "/sessions/{session}")
    def end_session(self, session: str) -> None:
        """Sign out there."""

    @asks("GET", "/audit")
    def audit(
        self,
        *,
        project: str | None = None,
        user: str | None = None,
        action: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> shapes.Page[shapes.AuditLine]:
        """What was done and what was refused, newest first."""

    @asks("GET", "/projects")
    def projects(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.ProjectShort]:
        """Your projects."""

    @asks("POST", "/projects")
    def create_project(self, body: shapes.NewProject, *, idempotency_key: str | None = None) -> shapes.ProjectState:
        """A new project from an example or for a kind of task."""

    @asks("GET", "/projects/{project}")
    def project(self, project: str) -> shapes.ProjectState:
        """What is in it, what was spent, what comes next."""

    @asks("PATCH", "/projects/{project}")
    def rename_project(self, project: str, body: shapes.NewTitle) -> shapes.ProjectState:
        """Another title; the name stays."""

    @asks("DELETE", "/projects/{project}")
    def delete_project(self, project: str) -> None:
        """Move it and what its jobs left to the trash, `.serve/trash`, from which an administrator of the machine can
        bring the project back; its members, invitations, keys, title and queue go."""

    @asks("GET", "/projects/{project}/spec")
    def spec(self, project: str) -> Any:
        """The spec, as JSON, or as the file itself with `Accept: application/toml`."""

    @asks("PUT", "/projects/{project}/spec")
    def put_spec(
        self, project: str, body: shapes.SpecChange, *, check: bool | None = None, if_match: str | None = None
    ) -> shapes.SpecShown:
        """Write the spec if it is as the ETag in `If-Match` says."""

    @asks("GET", "/projects/{project}/spec/form")
    def spec_form(self, project: str) -> shapes.SpecForm:
        """What a form for the spec is made of."""

    @asks("GET", "/projects/{project}/seeds")
    def seeds(self, project: str) -> shapes.SeedList:
        """The sources that the spec names, read as `generate` reads them."""

    @asks("POST", "/projects/{project}/seeds")
    def add_seeds(self, project: str, form: dict[str, Any], *, idempotency_key: str | None = None) -> shapes.SeedFile:
        """A file of seeds, or lines of text; it is added to the spec once all of it can be read."""

    @asks("DELETE", "/projects/{project}/seeds/{file}")
    def delete_seeds(self, project: str, file: str) -> None:
        """Take a file out of the spec and delete it."""

    @asks("GET", "/projects/{project}/prompts")
    def prompts(self, project: str) -> shapes.PromptList:
        """Every version that can be used, the project's own and those that come with pairsmith."""

    @asks("GET", "/projects/{project}/prompts/{name}/{version}")
    def prompt(self, project: str, name: str, version: str) -> shapes.PromptShown:
        """One version."""

    @asks("POST", "/projects/{project}/prompts/{name}")
    def add_prompt(
        self, project: str, name: str, body: shapes.NewVersion, *, idempotency_key: str | None = None
    ) -> shapes.PromptShown:
        """A new version; nothing asks with it before the spec names it, or the newest."""

    @asks("POST", "/projects/{project}/prompts/{name}/preview")
    def preview_prompt(
        self, project: str, name: str, body: shapes.PreviewWish, *, idempotency_key: str | None = None
    ) -> shapes.Job:
        """Ask about a few seeds with the prompts as the spec has them, beside the last run."""

    @asks("GET", "/teachers")
    def teachers(self) -> shapes.Allowances:
        """Hosts and names of keys that a spec may have here; `embedded` needs neither."""

    @asks("POST", "/teachers/test")
    def test_teacher(self, body: shapes.TeacherWish, *, idempotency_key: str | None = None) -> shapes.Tried:
        """Ask a server for its list of models, with the value of a key by its name."""

    @asks("POST", "/teachers/allowed")
    def allow_host(self, body: shapes.TeacherWish, *, idempotency_key: str | None = None) -> shapes.Allowance:
        """Allow specs to send to a host, with the value of a key."""

    @asks("DELETE", "/teachers/allowed")
    def forbid_host(self, *, host: str | None = None, key_env: str | None = None) -> None:
        """Take an allowance back; specs that have it are refused when their next job starts."""

    @asks("POST", "/projects/{project}/jobs")
    def start_job(self, project: str, body: shapes.NewJob, *, idempotency_key: str | None = None) -> shapes.Job:
        """Put a job into the queue."""

    @asks("GET", "/projects/{project}/jobs")
    def project_jobs(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Job]:
        """The project's jobs, newest first."""

    @asks("GET", "/jobs")
    def jobs(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.Job]:
        """The jobs of all your projects, newest first."""

    @asks("GET", "/jobs/{job}")
    def job(self, job: str) -> shapes.Job:
        """One job, as it is now."""

    @asks("POST", "/jobs/{job}/cancel")
    def cancel_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """Stop it: it finishes what is in flight, and everything is kept."""

    @asks("POST", "/jobs/{job}/continue")
    def continue_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """A new job that goes on where this one ended; what is done is asked for no more."""

    @asks("GET", "/jobs/{job}/log")
    def job_log(self, job: str, *, from_: int | None = None) -> bytes:
        """What its processes have said, from a byte on."""

    @asks("GET", "/events")
    def events(self, *, last_event_id: str | None = None) -> Iterator[Any]:
        """What moves in your projects: every present state at once, then each change."""

    @asks("GET", "/projects/{project}/rows")
    def rows(
        self,
        project: str,
        *,
        sort: Literal["asked", "newest", "best", "worst", "longest", "shortest"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["accepted", "rejected", "waiting", "failed"] | None = None,
        reason: str | None = None,
        by: str | None = None,
        split: Literal["train", "validation", "test"] | None = None,
        generator: str | None = None,
        reviewed: bool | None = None,
        q: str | None = None,
    ) -> shapes.Page[shapes.RowShown]:
        """Rows as the last curation left them, and those that were generated since."""

    @asks("GET", "/projects/{project}/rows/facets")
    def row_facets(
        self,
        project: str,
        *,
        state: Literal["accepted", "rejected", "waiting", "failed"] | None = None,
        reason: str | None = None,
        by: str | None = None,
        split: Literal["train", "validation", "test"] | None = None,
        generator: str | None = None,
        reviewed: bool | None = None,
        q: str | None = None,
    ) -> shapes.FacetsShown:
        """How many rows there are by each property."""

    @asks("GET", "/projects/{project}/rows/download")
    def download_rows(
        self,
        project: str,
        *,
        format_: Literal["jsonl", "parquet", "csv"] | None = None,
        state: Literal["accepted", "rejected", "waiting", "failed"] | None = None,
        reason: str | None = None,
        by: str | None = None,
        split: Literal["train", "validation", "test"] | None = None,
        generator: str | None = None,
        reviewed: bool | None = None,
        q: str | None = None,
    ) -> bytes:
        """All rows that the filters let pass, streamed."""

    @asks("GET", "/projects/{project}/rows/{row}")
    def row(self, project: str, row: str) -> dict[str, Any]:
        """The lineage of a row: seed, prompt, answers, verdicts, reviews, datasets (`pairsmith explain --json`)."""

    @asks("GET", "/projects/{project}/rows/{row}/candidates")
    def candidates(self, project: str, row: str) -> shapes.Page[shapes.RowShown]:
        """All candidates of the row's input, side by side."""

    @asks("POST", "/projects/{project}/rows/{row}/reviews")
    def review_row(
        self, project: str, row: str, body: shapes.Answer, *, idempotency_key: str | None = None
    ) -> shapes.ReviewShown:
        """A person's answer."""

    @asks("GET", "/projects/{project}/review/queue")
    def review_queue(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.QueueRow]:
        """The rows that people are asked about, those that you have not answered first."""

    @asks("GET", "/projects/{project}/receipts")
    def receipts(
        self, project: str, *, command: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """What every command did, newest first: rows, tokens, money, seconds, versions."""

    @asks("GET", "/projects/{project}/artifacts")
    def artifacts(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.ArtifactShown]:
        """Datasets, adapters and evaluations, newest first."""

    @asks("GET", "/projects/{project}/artifacts/{artifact}/download")
    def download_artifact(
        self,
        project: str,
        artifact: str,
        *,
        format_: Literal["zip", "jsonl", "parquet"] | None = None,
        split: Literal["train", "validation", "test"] | None = None,
    ) -> bytes:
        """All of its files as one zip, streamed; of a dataset a split as JSONL or Parquet."""

    @asks("GET", "/projects/{project}/export")
    def download_export(self, project: str) -> bytes:
        """What the last `export` has put together, as one zip, streamed: dataset, model, GGUFs, evaluation, report."""

    @asks("GET", "/projects/{project}/evaluations")
    def evaluations(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """Evaluations with their systems, intervals and verdicts, newest first, without the single outputs."""

    @asks("GET", "/projects/{project}/evaluations/{evaluation}/outputs")
    def evaluation_outputs(
        self,
        project: str,
        evaluation: str,
        *,
        system: str | None = None,
        failed_check: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> shapes.Page[dict[str, Any]]:
        """The outputs of an evaluation, all or those of a system, or that failed a check."""

    @asks("GET", "/projects/{project}/review")
    def review(self, project: str) -> dict[str, Any]:
        """How far people are: acceptance with its interval, agreement, what more answers would buy; and what the last
        look for a certificate found: its `words`, whether it `holds`, and `why` not."""

    @asks("GET", "/projects/{project}/report")
    def report(self, project: str) -> bytes:
        """The report of the last run, as a page that can do nothing: it is made of other people's texts."""
