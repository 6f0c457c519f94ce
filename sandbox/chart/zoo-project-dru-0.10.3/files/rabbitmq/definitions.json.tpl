{
  "users": [{"name": "{{ .Values.rabbitmq.auth.username }}", "password": "{{ .Values.rabbitmq.auth.password }}", "tags": "administrator"}],
  "vhosts": [{"name": "{{ .Values.rabbitmq.auth.vhost }}"}],
  "global_parameters": [{"name": "internal_cluster_id", "value": "rabbitmq-cluster-id-{{ randAlphaNum 32 }}"}],
  "queues": [
    {"name": "zoo_service_queue", "vhost": "{{ .Values.rabbitmq.auth.vhost }}", "durable": true},
    {"name": "unroutable_messages_queue", "vhost": "{{ .Values.rabbitmq.auth.vhost }}", "durable": true}
  ]
}
