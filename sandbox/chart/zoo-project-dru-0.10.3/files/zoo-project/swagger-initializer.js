// stand-in: {{ include "zoo-project-dru.hosturl" . }}/ogc-api/api
