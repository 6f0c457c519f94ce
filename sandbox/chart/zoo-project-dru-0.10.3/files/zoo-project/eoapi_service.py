stand-in: placeholder of eoapi_service.py
