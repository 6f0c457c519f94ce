"""cors: answers OPTIONS itself (before openid-connect) and adds its headers to every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError, expect
from sandbox.gateway.request import Answer, Request

_ALL_METHODS = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"


class Cors(Plugin):
    """https://apisix.apache.org/docs/apisix/plugins/cors/"""

    name = "cors"
    priority = 4000

    def __init__(self, config: Mapping[str, Any], runtime: Runtime) -> None:
        super().__init__(config, runtime)
        text = ("allow_origins", "allow_methods", "allow_headers", "expose_headers")
        expect(config, allow_credential=bool, max_age=int, **dict.fromkeys(text, str))
        if config.get("allow_credential") and any(config.get(t, "*") == "*" for t in text[:3]):
            raise SchemaError(
                "you can not set '*' for other option when 'allow_credential' is true"
            )

    async def rewrite(self, request: Request) -> Answer | None:
        return Answer(200) if request.method == "OPTIONS" else None

    def header_filter(self, request: Request) -> None:
        origin = request.headers.get("Origin", "")
        allowed = str(self.config.get("allow_origins", "*"))
        if allowed == "**":
            allowed = origin or "*"
        elif allowed != "*":
            if origin not in allowed.split(","):
                return
            allowed = origin
        methods = self.config.get("allow_methods", "*")
        headers = self.config.get("allow_headers", "*")
        if headers == "**":
            headers = request.headers.get("Access-Control-Request-Headers", "")
        answer = request.response_headers
        answer["Access-Control-Allow-Origin"] = allowed
        if allowed != "*":
            answer.add("Vary", "Origin")
        answer["Access-Control-Allow-Methods"] = _ALL_METHODS if methods == "**" else methods
        answer["Access-Control-Max-Age"] = str(self.config.get("max_age", 5))
        if "expose_headers" in self.config:
            answer["Access-Control-Expose-Headers"] = self.config["expose_headers"]
        if headers:
            answer["Access-Control-Allow-Headers"] = headers
        if self.config.get("allow_credential"):
            answer["Access-Control-Allow-Credentials"] = "true"
