stand-in: placeholder of security_service.py
