stand-in: placeholder of subscriber.py
