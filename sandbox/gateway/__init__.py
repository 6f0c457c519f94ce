"""Stand-in for Apache APISIX and its ingress controller: Python in place of nginx and Lua."""
