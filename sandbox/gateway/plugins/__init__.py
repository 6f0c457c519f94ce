"""The plugins of APISIX an engine's route needs; any other name is refused as unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.gateway.plugins.authz_keycloak import AuthzKeycloak
from sandbox.gateway.plugins.base import Plugin, Runtime, SchemaError
from sandbox.gateway.plugins.cors import Cors
from sandbox.gateway.plugins.openid_connect import OpenidConnect
from sandbox.gateway.plugins.proxy_rewrite import ProxyRewrite
from sandbox.gateway.plugins.serverless import ServerlessPost, ServerlessPre

KNOWN: dict[str, type[Plugin]] = {
    plugin.name: plugin
    for plugin in (ServerlessPre, Cors, OpenidConnect, AuthzKeycloak, ProxyRewrite, ServerlessPost)
}


def build(configs: Mapping[str, Mapping[str, Any]], runtime: Runtime) -> tuple[Plugin, ...]:
    """The plugins of one route in the order they run. Raises SchemaError as the schema check."""
    built = []
    for name, config in configs.items():
        if name not in KNOWN:
            raise SchemaError(f"unknown plugin [{name}]")
        try:
            if not config.get("_meta", {}).get("disable"):
                built.append(KNOWN[name](config, runtime))
        except (SchemaError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise SchemaError(
                f"failed to check the configuration of plugin {name} err: {error}"
            ) from error
    return tuple(sorted(built, key=lambda plugin: -plugin.order))
