"""The state that the application holds while it runs, for use in routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request

if TYPE_CHECKING:
    import sqlalchemy as sa

    from pairsmith.serve.accounts import Accounts
    from pairsmith.serve.audit import Audit
    from pairsmith.serve.jobs import Jobs
    from pairsmith.serve.keys import Keys
    from pairsmith.serve.limits import Limits
    from pairsmith.serve.policy import Policy
    from pairsmith.serve.readers import Readers
    from pairsmith.serve.rows_view import RowsView
    from pairsmith.serve.sessions import Sessions
    from pairsmith.serve.settings import Settings
    from pairsmith.serve.talking import TunedModelServer
    from pairsmith.serve.workspace import Workspace


class ServiceState(Protocol):
    """Starlette's `app.state`, as filled by `create_app`."""

    workspace: Workspace
    settings: Settings
    engine: sa.Engine
    accounts: Accounts
    sessions: Sessions
    keys: Keys
    audit: Audit
    limits: Limits
    policy: Policy
    jobs: Jobs
    views: RowsView
    readers: Readers
    talking: TunedModelServer


def state_of(request: Request) -> ServiceState:
    """The state of the application that serves a request."""
    state: ServiceState = request.app.state
    return state
