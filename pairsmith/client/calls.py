"""The calls of the API. Written by `python -m pairsmith.serve.write_client`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pairsmith.client import shapes
from pairsmith.client.http import Http, operation


class Calls(Http):
    """The operations of the API, one method each."""

    @operation("GET", "/me")
    def me(self) -> shapes.Me:
        """The signed-in user."""

    @operation("GET", "/users")
    def users(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.User]:
        """All users with an account."""

    @operation("PUT", "/users/{user}/role")
    def set_role(self, user: str, body: shapes.Membership) -> shapes.User:
        """Grant, change or remove a role."""

    @operation("DELETE", "/users/{user}")
    def disable_user(self, user: str) -> None:
        """Close an account: its sessions and keys end, its name stays in the audit."""

    @operation("POST", "/invitations")
    def invite(self, body: shapes.Invite, *, idempotency_key: str | None = None) -> shapes.InvitationLink:
        """Create a link for one user, for a role in all projects."""

    @operation("POST", "/projects/{project}/invitations")
    def invite_to_project(
        self, project: str, body: shapes.Invite, *, idempotency_key: str | None = None
    ) -> shapes.InvitationLink:
        """Create a link for one user, for a role in this project."""

    @operation("GET", "/keys")
    def keys(
        self, *, everybody: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Key]:
        """Your API keys, or those of all users if you are an owner; never the secrets."""

    @operation("POST", "/keys")
    def make_key(self, body: shapes.NewKey, *, idempotency_key: str | None = None) -> shapes.CreatedKey:
        """Create an API key."""

    @operation("DELETE", "/keys/{key}")
    def revoke_key(self, key: str) -> None:
        """Revoke one of your keys; an owner can revoke anybody's."""

    @operation("GET", "/sessions")
    def sessions(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.SessionInfo]:
        """The sessions in which you are signed in."""

    @operation("DELETE", "/sessions/{session}")
    def end_session(self, session: str) -> None:
        """Sign out of one session."""

    @operation("GET", "/audit")
    def audit(
        self,
        *,
        project: str | None = None,
        user: str | None = None,
        action: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> shapes.Page[shapes.AuditEntry]:
        """Actions and refusals, newest first."""

    @operation("GET", "/projects")
    def projects(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.ProjectSummary]:
        """Your projects."""

    @operation("POST", "/projects")
    def create_project(self, body: shapes.NewProject, *, idempotency_key: str | None = None) -> shapes.ProjectState:
        """Create a project from an example or for a kind of task."""

    @operation("GET", "/projects/{project}")
    def project(self, project: str) -> shapes.ProjectState:
        """The contents of a project, its spending, and the next step."""

    @operation("PATCH", "/projects/{project}")
    def rename_project(self, project: str, body: shapes.NewTitle) -> shapes.ProjectState:
        """Change the title of a project; its name stays."""

    @operation("DELETE", "/projects/{project}")
    def delete_project(self, project: str) -> None:
        """Move the project and its jobs' files to the trash, `.serve/trash`."""

    @operation("GET", "/projects/{project}/spec")
    def spec(self, project: str) -> Any:
        """The spec as JSON, or the file itself with `Accept: application/toml`."""

    @operation("PUT", "/projects/{project}/spec")
    def put_spec(
        self, project: str, body: shapes.SpecChange, *, check: bool | None = None, if_match: str | None = None
    ) -> shapes.SpecDocument:
        """Write the spec if it still has the ETag in `If-Match`."""

    @operation("GET", "/projects/{project}/spec/form")
    def spec_form(self, project: str) -> shapes.SpecSchema:
        """The schema for a form to edit the spec."""

    @operation("GET", "/projects/{project}/seeds")
    def seeds(self, project: str) -> shapes.SeedList:
        """The seed sources in the spec, read as `generate` reads them."""

    @operation("POST", "/projects/{project}/seeds")
    def add_seeds(self, project: str, form: dict[str, Any], *, idempotency_key: str | None = None) -> shapes.SeedFile:
        """Upload a file of seeds, or lines of text; it is added to the spec once all of it can be read."""

    @operation("DELETE", "/projects/{project}/seeds/{file}")
    def delete_seeds(self, project: str, file: str) -> None:
        """Remove a file from the spec and delete it."""

    @operation("GET", "/projects/{project}/prompts")
    def prompts(self, project: str) -> shapes.PromptList:
        """All available prompt versions: the project's own, and those that come with pairsmith."""

    @operation("GET", "/projects/{project}/prompts/{name}/{version}")
    def prompt(self, project: str, name: str, version: str) -> shapes.PromptDetail:
        """One version of a prompt."""

    @operation("POST", "/projects/{project}/prompts/{name}")
    def add_prompt(
        self, project: str, name: str, body: shapes.NewVersion, *, idempotency_key: str | None = None
    ) -> shapes.PromptDetail:
        """Save a new version."""

    @operation("POST", "/projects/{project}/prompts/{name}/preview")
    def preview_prompt(
        self, project: str, name: str, body: shapes.PreviewRequest, *, idempotency_key: str | None = None
    ) -> shapes.Job:
        """Generate for a few seeds with the prompts in the spec, for comparison with the last run."""

    @operation("GET", "/teachers")
    def teachers(self) -> shapes.AllowanceList:
        """The hosts and key names that a spec may use here; `embedded` needs neither."""

    @operation("POST", "/teachers/test")
    def test_teacher(self, body: shapes.TeacherRequest, *, idempotency_key: str | None = None) -> shapes.TeacherTest:
        """Request a server's list of models, with the value of a named key."""

    @operation("POST", "/teachers/allowed")
    def allow_host(self, body: shapes.TeacherRequest, *, idempotency_key: str | None = None) -> shapes.Allowance:
        """Allow specs to send to a host, with the value of a key."""

    @operation("DELETE", "/teachers/allowed")
    def forbid_host(self, *, host: str, key_env: str | None = None) -> None:
        """Revoke an allowance."""

    @operation("POST", "/projects/{project}/jobs")
    def start_job(self, project: str, body: shapes.NewJob, *, idempotency_key: str | None = None) -> shapes.Job:
        """Queue a job."""

    @operation("GET", "/projects/{project}/jobs")
    def project_jobs(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Job]:
        """The project's jobs, newest first."""

    @operation("GET", "/jobs")
    def jobs(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.Job]:
        """The jobs of all your projects, newest first."""

    @operation("GET", "/jobs/{job}")
    def job(self, job: str) -> shapes.Job:
        """The current state of a job."""

    @operation("POST", "/jobs/{job}/cancel")
    def cancel_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """Stop a job: it finishes what is in flight, and nothing is lost."""

    @operation("POST", "/jobs/{job}/continue")
    def continue_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """Start a new job that continues where this one ended; finished work is not requested again."""

    @operation("GET", "/jobs/{job}/log")
    def job_log(self, job: str, *, from_: int | None = None) -> bytes:
        """The output of the job's processes, from a byte offset on."""

    @operation("GET", "/events")
    def events(self, *, last_event_id: str | None = None) -> Iterator[Any]:
        """Live events of your projects: all current states at once, then each change."""

    @operation("GET", "/projects/{project}/rows")
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
    ) -> shapes.Page[shapes.RowView]:
        """The rows of the last curation, and those that were generated since."""

    @operation("GET", "/projects/{project}/rows/facets")
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
    ) -> shapes.RowFacets:
        """Counts of rows by each property."""

    @operation("GET", "/projects/{project}/rows/download")
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
        """All rows that match the filters, streamed."""

    @operation("GET", "/projects/{project}/rows/{row}")
    def row(self, project: str, row: str) -> dict[str, Any]:
        """The lineage of a row: seed, prompt, answers, verdicts, reviews, datasets (`pairsmith explain --json`)."""

    @operation("GET", "/projects/{project}/rows/{row}/candidates")
    def candidates(self, project: str, row: str) -> shapes.Page[shapes.RowView]:
        """All candidates for the row's input, for comparison."""

    @operation("POST", "/projects/{project}/rows/{row}/reviews")
    def review_row(
        self, project: str, row: str, body: shapes.Answer, *, idempotency_key: str | None = None
    ) -> shapes.ReviewRecord:
        """Answer a row."""

    @operation("GET", "/projects/{project}/review/queue")
    def review_queue(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.QueueRow]:
        """The rows in the review queue, those that need your answer first."""

    @operation("GET", "/projects/{project}/receipts")
    def receipts(
        self, project: str, *, command: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """The receipts of all commands, newest first: rows, tokens, money, seconds, versions."""

    @operation("GET", "/projects/{project}/artifacts")
    def artifacts(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.ArtifactInfo]:
        """Datasets, adapters and evaluations, newest first."""

    @operation("GET", "/projects/{project}/artifacts/{artifact}/download")
    def download_artifact(
        self,
        project: str,
        artifact: str,
        *,
        format_: Literal["zip", "jsonl", "parquet"] | None = None,
        split: Literal["train", "validation", "test"] | None = None,
    ) -> bytes:
        """All files of an artifact as a streamed zip, or one split of a dataset, by default `train`, as JSONL or
        Parquet."""

    @operation("GET", "/projects/{project}/export")
    def download_export(self, project: str) -> bytes:
        """The last export as a streamed zip: dataset, model, GGUFs, evaluation, report."""

    @operation("GET", "/projects/{project}/evaluations")
    def evaluations(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """Evaluations with their systems, intervals and verdicts, newest first, without the individual outputs."""

    @operation("GET", "/projects/{project}/evaluations/{evaluation}/outputs")
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
        """The outputs of an evaluation: all, those of one system, or those that failed a check."""

    @operation("GET", "/projects/{project}/review")
    def review(self, project: str) -> dict[str, Any]:
        """Review progress: acceptance with its interval, agreement, and what more answers would gain."""

    @operation("GET", "/projects/{project}/report")
    def report(self, project: str) -> bytes:
        """The report of the last run, as a sandboxed page, because it contains texts from other users."""
