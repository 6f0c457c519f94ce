stand-in: placeholder of publish.py
