"""The calls that the guides of Argilla's SDK (2.8) document for users, workspaces, task distribution and webhooks.

Tested on the server that pairsmith starts; docs/argilla/sdk.md lists them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.curate.argilla.conftest import argilla_client, wait_until

rg = argilla_client()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def settings() -> Any:
    return rg.Settings(fields=[rg.TextField("question")], questions=[rg.TextQuestion("comment")])


@pytest.fixture
def workspace(client: Any) -> Any:
    """A workspace for this test only."""
    return rg.Workspace(name=unique("guide"), client=client).create()


def test_users(client: Any, workspace: Any) -> None:
    """The current user; a user is created, listed, retrieved by name or id, added to a workspace, removed, and
    deleted."""
    assert (client.me.username, client.me.role) == ("pairsmith", "owner")
    before, name = len(client.users), unique("bob")
    created = rg.User(username=name, first_name="Bob", last_name="B", password="12345678", client=client).create()
    assert created.role == "annotator"
    assert len(client.users) == before + 1
    assert name in {user.username for user in client.users}
    assert client.users(name).id == client.users(id=created.id).id == created.id
    created.add_to_workspace(workspace)
    assert [user.username for user in workspace.users] == [name]
    created.remove_from_workspace(workspace)
    assert len(workspace.users) == 0
    created.delete()
    with pytest.warns(UserWarning, match="not found"):
        assert client.users(name) is None


def test_what_each_role_may_do(client: Any, workspace: Any, connect: Callable[[str], Any]) -> None:
    """An annotator sees the datasets of their workspaces and cannot create any; an admin can create datasets there, but
    no users."""
    rg.Dataset(name="gems", workspace=workspace, settings=settings(), client=client).create()
    clients = {}
    for role in ("annotator", "admin"):
        user = rg.User(username=unique(role), password="12345678", role=role, client=client).create()
        user.add_to_workspace(workspace)
        clients[role] = connect(client.http_client.get(f"/api/v1/users/{user.id}").json()["api_key"])
    assert [one.name for one in clients["annotator"].datasets] == ["gems"]
    again = {"name": "more", "settings": settings()}
    with pytest.raises(Exception, match="not authorized"):
        rg.Dataset(**again, workspace=workspace.name, client=clients["annotator"]).create()
    assert rg.Dataset(**again, workspace=workspace.name, client=clients["admin"]).create().id
    with pytest.raises(Exception, match="Operation not allowed"):
        rg.User(username=unique("x"), password="12345678", client=clients["admin"]).create()


def test_workspaces(client: Any) -> None:
    """A workspace is created, listed, retrieved by name or id; users are added and removed by name; an empty one can be
    deleted."""
    before, name = len(client.workspaces), unique("room")
    created = rg.Workspace(name=name, client=client).create()
    assert len(client.workspaces) == before + 1
    assert name in {one.name for one in client.workspaces}
    assert client.workspaces(name).id == client.workspaces(id=created.id).id == created.id
    user = rg.User(username=unique("cid"), password="12345678", client=client).create()
    created.add_user(user.username)
    assert [one.username for one in created.users] == [user.username]
    created.remove_user(user.username)
    assert len(created.users) == 0
    created.delete()
    with pytest.warns(UserWarning, match="not found"):
        assert client.workspaces(name) is None


def test_a_workspace_with_datasets_is_not_deleted(client: Any, workspace: Any) -> None:
    """Deleting is refused while it contains a dataset."""
    dataset = rg.Dataset(name="gems", workspace=workspace, settings=settings(), client=client).create()
    with pytest.raises(Exception, match="has some datasets linked"):
        workspace.delete()
    dataset.delete()
    workspace.delete()


def test_how_many_answers_complete_a_record(client: Any, workspace: Any) -> None:
    """One by default; another number can be set later, even after answers were given, and the record status follows."""
    dataset = rg.Dataset(name="gems", workspace=workspace, settings=settings(), client=client).create()
    dataset.records.log([{"question": f"{number}?"} for number in range(4)])
    assert dataset.settings.distribution == rg.TaskDistribution(min_submitted=1)
    record = next(iter(dataset.records))
    record.responses.add(rg.Response("comment", "Fine.", user_id=client.me.id, status="submitted"))
    dataset.records.log([record])
    progress = dataset.progress(with_users_distribution=True)
    assert (progress["total"], progress["completed"], progress["pending"]) == (4, 1, 3)
    assert progress["users"][client.me.username]["completed"]["submitted"] == 1
    dataset.settings.distribution = rg.TaskDistribution(min_submitted=2)
    dataset.update()
    wait_until(lambda: dataset.progress()["completed"] == 0)


def test_webhooks(client: Any) -> None:
    """A webhook is created, listed, changed and deleted; test_server.py shows that it is called."""
    webhook = rg.Webhook(
        url="http://127.0.0.1:9/", events=["dataset.created"], description="Mine", _client=client
    ).create()
    assert [(hook.url, hook.events, hook.enabled) for hook in client.webhooks] == [
        (webhook.url, ["dataset.created"], True)
    ]
    webhook.events = ["dataset.updated"]
    webhook.update()
    assert [hook.events for hook in client.webhooks] == [["dataset.updated"]]
    webhook.delete()
    assert list(client.webhooks) == []
