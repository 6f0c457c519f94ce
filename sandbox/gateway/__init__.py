"""Stand-in for Apache APISIX 3.16 and its ingress controller, in Python and LuaJIT.

The way of a change is ``crs`` (watch) -> ``translate`` (controller) -> ``routing`` and ``tls``
(data plane), then the objects' status. The way of a request is ``proxy`` -> ``routing`` ->
``plugins`` -> the engine's socket. Not here: HTTP/2, WebSocket, plain HTTP, global rules,
ApisixUpstream, weights between backends, GatewayProxy, other plugins (refused as unknown).
"""
