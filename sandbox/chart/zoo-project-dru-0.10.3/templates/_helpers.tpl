{{- define "zoo-project-dru.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A release name that contains the chart's name is the whole name; otherwise both are joined. */}}
{{- define "zoo-project-dru.fullname" -}}
{{- $name := include "zoo-project-dru.name" . }}
{{- $joined := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $joined .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "zoo-project-dru.chart" -}}
{{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "zoo-project-dru.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zoo-project-dru.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "zoo-project-dru.labels" -}}
helm.sh/chart: {{ include "zoo-project-dru.chart" . }}
{{ include "zoo-project-dru.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "zoo-project-dru.databaseLabels" -}}
app: {{ include "zoo-project-dru.fullname" . }}-postgresql
release: {{ .Release.Name }}
{{- end }}

{{- define "zoo-project-dru.hosturl" -}}
{{- $first := printf "https://%s" (first .Values.ingress.hosts).host }}
{{- .Values.ingress.hosturl | default (ternary $first "http://localhost:8080" .Values.ingress.enabled) }}
{{- end }}

{{- define "zoo-project-dru.checksums" -}}
checksum/cm-cwlwrapper-assets: {{ include (print .Template.BasePath "/cm-cwlwrapper-assets.yaml") . | sha256sum }}
checksum/cm-zoo-deploy-service-config: {{ include (print .Template.BasePath "/cm-zoo-deploy-service-config.yaml") . | sha256sum }}
checksum/cm-zoo-project-config: {{ include (print .Template.BasePath "/cm-zoo-project-config.yaml") . | sha256sum }}
{{- if .Values.documentation.enabled }}
checksum/cm-openapi-config: {{ include (print .Template.BasePath "/cm-openapi-config.yaml") . | sha256sum }}
{{- end }}
{{- end }}

{{/* Waits for the broker, with its password unquoted on a command line: a quirk kept on purpose. */}}
{{- define "zoo-project-dru.waitContainer" -}}
{{- $broker := printf "%s-rabbitmq" (include "zoo-project-dru.fullname" .root) -}}
- name: init-wait-for-dependencies-{{ .name }}
  image: curlimages/curl:8.21.0
  imagePullPolicy: IfNotPresent
  command: ["/bin/sh"]
  args:
    - -c
    - |
      until curl --max-time 5 -f -u {{ .root.Values.rabbitmq.auth.username }}:{{ .root.Values.rabbitmq.auth.password }} http://{{ $broker }}:15672/api/queues/%2F/zoo_service_queue
      do sleep 5
      done
  env:
    - name: ZOO_RABBITMQ_HOST
      value: {{ $broker }}
{{- end }}

{{- define "zoo-project-dru.permissionsContainer" -}}
{{- with .root.Values.persistence.procServicesPermissions }}
{{- if .enabled -}}
- name: fix-procservices-perms-{{ $.name }}
  image: {{ .image }}
  imagePullPolicy: IfNotPresent
  command: ["/bin/sh"]
  args: ["-c", "chown -R {{ .uid }}:{{ .gid }} {{ $.root.Values.persistence.servicesNamespacePath }} || true"]
  securityContext:
    runAsUser: 0
    runAsGroup: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
      add: [CHOWN, FOWNER, DAC_OVERRIDE]
  volumeMounts:
    - name: ades-processing-services
      mountPath: {{ $.root.Values.persistence.servicesNamespacePath }}
{{- end }}
{{- end }}
{{- end }}

{{- define "zoo-project-dru.databaseEnv" -}}
{{- $auth := .Values.global.postgresql.auth }}
{{- if $auth.existingSecret }}
{{- range $variable, $key := dict "PGPASSWORD" "password" "PGUSER" "username" "PGHOST" "host" "PGPORT" "port" "PGDATABASE" "database" }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $auth.existingSecret }}
      key: {{ $key }}
      optional: true
{{- end }}
{{- else if .Values.postgresql.enabled }}
- name: PGHOST
  value: {{ include "zoo-project-dru.fullname" . }}-postgresql-service
- name: PGDATABASE
  value: {{ $auth.database | quote }}
- name: PGPASSWORD
  {{- include "zoo-project-dru.databasePassword" (dict "root" . "value" ($auth.password | quote)) | nindent 2 }}
- name: PGUSER
  value: {{ $auth.username | quote }}
- name: PGPORT
  value: {{ .Values.global.postgresql.service.ports.postgresql | quote }}
{{- end }}
{{- end }}

{{- define "zoo-project-dru.databasePassword" -}}
{{- if .root.Values.postgresql.useSecret -}}
valueFrom:
  secretKeyRef:
    name: {{ .root.Values.postgresql.secretName | default (printf "%s-postgresql-secret" (include "zoo-project-dru.fullname" .root)) }}
    key: password
{{- else -}}
value: {{ .value }}
{{- end }}
{{- end }}

{{- define "zoo-project-dru.engineVolumes" -}}
- name: tmp-folder
  persistentVolumeClaim:
    claimName: {{ .Release.Name }}-tmp-folder
- name: ades-processing-services
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingProcServicesClaim | default (printf "%s-processing-services" .Release.Name) }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}

{{/* Mounts of single files: the argument is a list of [volume, path, key]. */}}
{{- define "zoo-project-dru.fileMounts" -}}
{{- range . }}
- name: {{ index . 0 }}
  mountPath: {{ index . 1 }}
  subPath: {{ index . 2 }}
{{- end }}
{{- end }}

{{- define "zoo-project-dru.extraMounts" -}}
{{- range . }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  subPath: {{ .subPath }}
{{- end }}
{{- end }}
