"""What the application holds as long as it runs, for the routes that work with it."""

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
    from pairsmith.serve.talking import Talking
    from pairsmith.serve.workspace import Workspace


class ServiceState(Protocol):
    """Starlette's `app.state` as `create_app` fills it."""

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
    talking: Talking


def state_of(request: Request) -> ServiceState:
    """The state of the application that a request came to."""
    state: ServiceState = request.app.state
    return state
