"""What the parts of the API share: a request behind the filter, and the engine it meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .answers import Answer, exception
from .descriptions import base_url
from .jobs import JobStore
from .processes import ProcessStore
from .runner import Runner, SettingsReader, Watcher
from .settings import Settings
from .tokens import ANONYMOUS

NO_RESOURCE = "The resource is not available"
NO_METHOD = "The request method is not allowed for this resource"
DEFAULT_LIMIT = 1000


@dataclass
class Engine:
    """State of one deployed engine."""

    processes: ProcessStore
    jobs: JobStore
    runner: Runner


@dataclass(frozen=True)
class Request:
    """A request behind the security filter; the path is the one behind `/ogc-api`."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    user: str


@dataclass(frozen=True)
class Call:
    """A request and all that answers it."""

    engine: Engine
    settings: Settings
    request: Request
    read_settings: SettingsReader
    watch: Watcher

    @property
    def base(self) -> str:
        """Base of every link of the answer."""
        return user_base(self.settings, self.request.user)


def user_base(settings: Settings, user: str) -> str:
    """Base URL for a user; the anonymous user's has no prefix."""
    return base_url(settings, None if user == ANONYMOUS else user)


def not_allowed() -> Answer:
    """405 of the kernel."""
    return exception("InvalidMethod", NO_METHOD, 405)
