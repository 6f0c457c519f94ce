"""serverless-pre-function and serverless-post-function: the route's own Lua, really run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError
from sandbox.gateway.request import Answer, Request

_PHASES = ("rewrite", "access", "header_filter", "body_filter", "log", "before_proxy")


class _Serverless(Plugin):
    """https://apisix.apache.org/docs/apisix/plugins/serverless/"""

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__(config, runtime)
        self.phase = config.get("phase", "access")
        functions = config.get("functions")
        if self.phase not in _PHASES:
            raise SchemaError('property "phase" validation failed: matches none of the enum values')
        if not isinstance(functions, list) or not functions:
            raise SchemaError('property "functions" is required')
        self.functions = [runtime.lua.compile(source) for source in functions]

    def _run(self, phase: str, request: Request) -> Answer | None:
        if phase != self.phase:
            return None
        for function in self.functions:
            answer = self.runtime.lua.call(function, self.config, request)
            if answer is not None:
                return answer
        return None

    async def rewrite(self, request: Request) -> Answer | None:
        return self._run("rewrite", request)

    async def access(self, request: Request) -> Answer | None:
        return self._run("access", request)

    def header_filter(self, request: Request) -> None:
        self._run("header_filter", request)


class ServerlessPre(_Serverless):
    """Before every other plugin of its phase."""

    name = "serverless-pre-function"
    priority = 10000


class ServerlessPost(_Serverless):
    """After every other plugin of its phase."""

    name = "serverless-post-function"
    priority = -2000
