"""The calls of the API. Written by `python -m pairsmith.serve.write_client`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pairsmith.client import shapes
from pairsmith.client.http import Http


class Calls(Http):
    """One method for each."""

    def me(self) -> shapes.Me:
        """Who you are here."""
        return self.call(shapes.Me, "GET", "/me", [])

    def users(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.User]:
        """Everybody with an account."""
        return self.call(shapes.Page[shapes.User], "GET", "/users", [], query={"limit": limit, "cursor": cursor})

    def set_role(self, user: str, body: shapes.Membership) -> shapes.User:
        """Give, change or take a role."""
        return self.call(shapes.User, "PUT", "/users/{user}/role", [user], body=body)

    def disable_user(self, user: str) -> None:
        """Close an account: its sessions and keys end, its name stays in the audit."""
        return self.call(type(None), "DELETE", "/users/{user}", [user])

    def invite(self, body: shapes.Invite, *, idempotency_key: str | None = None) -> shapes.Link:
        """A link for one person, to a role in all projects; it works once, within a week."""
        return self.call(shapes.Link, "POST", "/invitations", [], body=body, idempotency_key=idempotency_key)

    def invite_to_project(
        self, project: str, body: shapes.Invite, *, idempotency_key: str | None = None
    ) -> shapes.Link:
        """A link for one person, to a role in this project."""
        return self.call(
            shapes.Link,
            "POST",
            "/projects/{project}/invitations",
            [project],
            body=body,
            idempotency_key=idempotency_key,
        )

    def keys(
        self, *, everybody: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Key]:
        """Your API keys, or everybody's for an owner; never the secrets."""
        return self.call(
            shapes.Page[shapes.Key],
            "GET",
            "/keys",
            [],
            query={"everybody": everybody, "limit": limit, "cursor": cursor},
        )

    def make_key(self, body: shapes.NewKey, *, idempotency_key: str | None = None) -> shapes.KeyOnce:
        """A new key for programs, shown this one time."""
        return self.call(shapes.KeyOnce, "POST", "/keys", [], body=body, idempotency_key=idempotency_key)

    def revoke_key(self, key: str) -> None:
        """End one of your keys; an owner ends anybody's."""
        return self.call(type(None), "DELETE", "/keys/{key}", [key])

    def sessions(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.SessionShown]:
        """Where you are signed in."""
        return self.call(
            shapes.Page[shapes.SessionShown], "GET", "/sessions", [], query={"limit": limit, "cursor": cursor}
        )

    def end_session(self, session: str) -> None:
        """Sign out there."""
        return self.call(type(None), "DELETE", "/sessions/{session}", [session])

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
        return self.call(
            shapes.Page[shapes.AuditLine],
            "GET",
            "/audit",
            [],
            query={"project": project, "user": user, "action": action, "limit": limit, "cursor": cursor},
        )

    def projects(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.ProjectShort]:
        """Your projects."""
        return self.call(
            shapes.Page[shapes.ProjectShort], "GET", "/projects", [], query={"limit": limit, "cursor": cursor}
        )

    def create_project(self, body: shapes.NewProject, *, idempotency_key: str | None = None) -> shapes.ProjectState:
        """A new project from an example or for a kind of task."""
        return self.call(shapes.ProjectState, "POST", "/projects", [], body=body, idempotency_key=idempotency_key)

    def project(self, project: str) -> shapes.ProjectState:
        """What is in it, what was spent, what comes next."""
        return self.call(shapes.ProjectState, "GET", "/projects/{project}", [project])

    def rename_project(self, project: str, body: shapes.NewTitle) -> shapes.ProjectState:
        """Another title; the name stays."""
        return self.call(shapes.ProjectState, "PATCH", "/projects/{project}", [project], body=body)

    def delete_project(self, project: str) -> None:
        """Move it and what its jobs left to the trash, `.serve/trash`, from which an administrator of the machine can
        bring the project back; its members, invitations, keys, title and queue go."""
        return self.call(type(None), "DELETE", "/projects/{project}", [project])

    def spec(self, project: str) -> Any:
        """The spec, as JSON, or as the file itself with `Accept: application/toml`."""
        return self.call(Any, "GET", "/projects/{project}/spec", [project])

    def put_spec(
        self, project: str, body: shapes.SpecChange, *, check: bool | None = None, if_match: str | None = None
    ) -> shapes.SpecShown:
        """Write the spec if it is as the ETag in `If-Match` says."""
        return self.call(
            shapes.SpecShown,
            "PUT",
            "/projects/{project}/spec",
            [project],
            body=body,
            query={"check": check},
            headers={"if-match": if_match},
        )

    def spec_form(self, project: str) -> shapes.SpecForm:
        """What a form for the spec is made of."""
        return self.call(shapes.SpecForm, "GET", "/projects/{project}/spec/form", [project])

    def seeds(self, project: str) -> shapes.SeedList:
        """The sources that the spec names, read as `generate` reads them."""
        return self.call(shapes.SeedList, "GET", "/projects/{project}/seeds", [project])

    def add_seeds(self, project: str, form: dict[str, Any], *, idempotency_key: str | None = None) -> shapes.SeedFile:
        """A file of seeds, or lines of text; it is added to the spec once all of it can be read."""
        return self.call(
            shapes.SeedFile, "POST", "/projects/{project}/seeds", [project], form=form, idempotency_key=idempotency_key
        )

    def delete_seeds(self, project: str, file: str) -> None:
        """Take a file out of the spec and delete it."""
        return self.call(type(None), "DELETE", "/projects/{project}/seeds/{file}", [project, file])

    def prompts(self, project: str) -> shapes.PromptList:
        """Every version that can be used, the project's own and those that come with pairsmith."""
        return self.call(shapes.PromptList, "GET", "/projects/{project}/prompts", [project])

    def prompt(self, project: str, name: str, version: str) -> shapes.PromptShown:
        """One version."""
        return self.call(
            shapes.PromptShown, "GET", "/projects/{project}/prompts/{name}/{version}", [project, name, version]
        )

    def add_prompt(
        self, project: str, name: str, body: shapes.NewVersion, *, idempotency_key: str | None = None
    ) -> shapes.PromptShown:
        """A new version; nothing asks with it before the spec names it, or the newest."""
        return self.call(
            shapes.PromptShown,
            "POST",
            "/projects/{project}/prompts/{name}",
            [project, name],
            body=body,
            idempotency_key=idempotency_key,
        )

    def preview_prompt(
        self, project: str, name: str, body: shapes.PreviewWish, *, idempotency_key: str | None = None
    ) -> shapes.Job:
        """Ask about a few seeds with the prompts as the spec has them, beside the last run."""
        return self.call(
            shapes.Job,
            "POST",
            "/projects/{project}/prompts/{name}/preview",
            [project, name],
            body=body,
            idempotency_key=idempotency_key,
        )

    def teachers(self) -> shapes.Allowances:
        """Hosts and names of keys that a spec may have here; `embedded` needs neither."""
        return self.call(shapes.Allowances, "GET", "/teachers", [])

    def test_teacher(self, body: shapes.TeacherWish, *, idempotency_key: str | None = None) -> shapes.Tried:
        """Ask a server for its list of models, with the value of a key by its name."""
        return self.call(shapes.Tried, "POST", "/teachers/test", [], body=body, idempotency_key=idempotency_key)

    def allow_host(self, body: shapes.TeacherWish, *, idempotency_key: str | None = None) -> shapes.Allowance:
        """Allow specs to send to a host, with the value of a key."""
        return self.call(shapes.Allowance, "POST", "/teachers/allowed", [], body=body, idempotency_key=idempotency_key)

    def forbid_host(self, *, host: str | None = None, key_env: str | None = None) -> None:
        """Take an allowance back; specs that have it are refused when their next job starts."""
        return self.call(type(None), "DELETE", "/teachers/allowed", [], query={"host": host, "key_env": key_env})

    def start_job(self, project: str, body: shapes.NewJob, *, idempotency_key: str | None = None) -> shapes.Job:
        """Put a job into the queue."""
        return self.call(
            shapes.Job, "POST", "/projects/{project}/jobs", [project], body=body, idempotency_key=idempotency_key
        )

    def project_jobs(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.Job]:
        """The project's jobs, newest first."""
        return self.call(
            shapes.Page[shapes.Job],
            "GET",
            "/projects/{project}/jobs",
            [project],
            query={"limit": limit, "cursor": cursor},
        )

    def jobs(self, *, limit: int | None = None, cursor: str | None = None) -> shapes.Page[shapes.Job]:
        """The jobs of all your projects, newest first."""
        return self.call(shapes.Page[shapes.Job], "GET", "/jobs", [], query={"limit": limit, "cursor": cursor})

    def job(self, job: str) -> shapes.Job:
        """One job, as it is now."""
        return self.call(shapes.Job, "GET", "/jobs/{job}", [job])

    def cancel_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """Stop it: it finishes what is in flight, and everything is kept."""
        return self.call(shapes.Job, "POST", "/jobs/{job}/cancel", [job], idempotency_key=idempotency_key)

    def continue_job(self, job: str, *, idempotency_key: str | None = None) -> shapes.Job:
        """A new job that goes on where this one ended; what is done is asked for no more."""
        return self.call(shapes.Job, "POST", "/jobs/{job}/continue", [job], idempotency_key=idempotency_key)

    def job_log(self, job: str, *, from_: int | None = None) -> bytes:
        """What its processes have said, from a byte on."""
        return self.call(bytes, "GET", "/jobs/{job}/log", [job], query={"from": from_})

    def events(self, *, last_event_id: str | None = None) -> Iterator[Any]:
        """What moves in your projects: every present state at once, then each change."""
        return self.lines("/events", [], headers={"last-event-id": last_event_id})

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
        return self.call(
            shapes.Page[shapes.RowShown],
            "GET",
            "/projects/{project}/rows",
            [project],
            query={
                "sort": sort,
                "limit": limit,
                "cursor": cursor,
                "state": state,
                "reason": reason,
                "by": by,
                "split": split,
                "generator": generator,
                "reviewed": reviewed,
                "q": q,
            },
        )

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
        return self.call(
            shapes.FacetsShown,
            "GET",
            "/projects/{project}/rows/facets",
            [project],
            query={
                "state": state,
                "reason": reason,
                "by": by,
                "split": split,
                "generator": generator,
                "reviewed": reviewed,
                "q": q,
            },
        )

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
        return self.call(
            bytes,
            "GET",
            "/projects/{project}/rows/download",
            [project],
            query={
                "format": format_,
                "state": state,
                "reason": reason,
                "by": by,
                "split": split,
                "generator": generator,
                "reviewed": reviewed,
                "q": q,
            },
        )

    def row(self, project: str, row: str) -> dict[str, Any]:
        """The lineage of a row: seed, prompt, answers, verdicts, reviews, datasets (`pairsmith explain --json`)."""
        return self.call(dict[str, Any], "GET", "/projects/{project}/rows/{row}", [project, row])

    def candidates(self, project: str, row: str) -> shapes.Page[shapes.RowShown]:
        """All candidates of the row's input, side by side."""
        return self.call(
            shapes.Page[shapes.RowShown], "GET", "/projects/{project}/rows/{row}/candidates", [project, row]
        )

    def review_row(
        self, project: str, row: str, body: shapes.Answer, *, idempotency_key: str | None = None
    ) -> shapes.ReviewShown:
        """A person's answer."""
        return self.call(
            shapes.ReviewShown,
            "POST",
            "/projects/{project}/rows/{row}/reviews",
            [project, row],
            body=body,
            idempotency_key=idempotency_key,
        )

    def review_queue(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.QueueRow]:
        """The rows that people are asked about, those that you have not answered first."""
        return self.call(
            shapes.Page[shapes.QueueRow],
            "GET",
            "/projects/{project}/review/queue",
            [project],
            query={"limit": limit, "cursor": cursor},
        )

    def receipts(
        self, project: str, *, command: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """What every command did, newest first: rows, tokens, money, seconds, versions."""
        return self.call(
            shapes.Page[dict[str, Any]],
            "GET",
            "/projects/{project}/receipts",
            [project],
            query={"command": command, "limit": limit, "cursor": cursor},
        )

    def artifacts(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[shapes.ArtifactShown]:
        """Datasets, adapters and evaluations, newest first."""
        return self.call(
            shapes.Page[shapes.ArtifactShown],
            "GET",
            "/projects/{project}/artifacts",
            [project],
            query={"limit": limit, "cursor": cursor},
        )

    def download_artifact(
        self,
        project: str,
        artifact: str,
        *,
        format_: Literal["zip", "jsonl", "parquet"] | None = None,
        split: Literal["train", "validation", "test"] | None = None,
    ) -> bytes:
        """All of its files as one zip, streamed; of a dataset a split as JSONL or Parquet."""
        return self.call(
            bytes,
            "GET",
            "/projects/{project}/artifacts/{artifact}/download",
            [project, artifact],
            query={"format": format_, "split": split},
        )

    def download_export(self, project: str) -> bytes:
        """What the last `export` has put together, as one zip, streamed: dataset, model, GGUFs, evaluation, report."""
        return self.call(bytes, "GET", "/projects/{project}/export", [project])

    def evaluations(
        self, project: str, *, limit: int | None = None, cursor: str | None = None
    ) -> shapes.Page[dict[str, Any]]:
        """Evaluations with their systems, intervals and verdicts, newest first, without the single outputs."""
        return self.call(
            shapes.Page[dict[str, Any]],
            "GET",
            "/projects/{project}/evaluations",
            [project],
            query={"limit": limit, "cursor": cursor},
        )

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
        return self.call(
            shapes.Page[dict[str, Any]],
            "GET",
            "/projects/{project}/evaluations/{evaluation}/outputs",
            [project, evaluation],
            query={"system": system, "failed_check": failed_check, "limit": limit, "cursor": cursor},
        )

    def review(self, project: str) -> dict[str, Any]:
        """How far people are: acceptance with its interval, agreement, what more answers would buy; and what the last
        look for a certificate found: its `words`, whether it `holds`, and `why` not."""
        return self.call(dict[str, Any], "GET", "/projects/{project}/review", [project])

    def report(self, project: str) -> bytes:
        """The report of the last run, as a page that can do nothing: it is made of other people's texts."""
        return self.call(bytes, "GET", "/projects/{project}/report", [project])
