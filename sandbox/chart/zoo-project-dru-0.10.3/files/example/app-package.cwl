{"stand-in": "placeholder"}
