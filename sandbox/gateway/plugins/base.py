"""What a plugin is: two phases, a place in the order, and a schema that may refuse its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sandbox.gateway.identity import Identity
from sandbox.gateway.lua import Lua, SchemaError
from sandbox.gateway.request import Answer, Request

__all__ = ["Plugin", "Runtime", "SchemaError", "expect"]


@dataclass(frozen=True)
class Runtime:
    """What all plugins share, as nginx's workers share their dictionaries."""

    identity: Identity
    lua: Lua


class Plugin:
    """Base of all plugins. Phases return an Answer to stop, None to go on."""

    name: ClassVar[str]
    priority: ClassVar[int]

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime
        self.order = int(config.get("_meta", {}).get("priority", self.priority))

    async def rewrite(self, request: Request) -> Answer | None:
        """First phase, for all plugins of the route."""

    async def access(self, request: Request) -> Answer | None:
        """Second phase, after every plugin's rewrite."""

    def header_filter(self, request: Request) -> None:
        """Last: may add to ``request.response_headers``, whoever made the answer."""


def expect(config: Mapping[str, Any], **types: type | tuple[type, ...]) -> None:
    """Refuse values of another type; a name absent from the config passes."""
    for name, wanted in types.items():
        value = config.get(name)
        right = isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool))
        if name in config and not right:
            raise SchemaError(f'property "{name}" validation failed: wrong type')
