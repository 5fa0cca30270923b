{{- define "longshore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "longshore.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "longshore.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "longshore.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "longshore.selectorLabels" -}}
app.kubernetes.io/name: {{ include "longshore.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "longshore.labels" -}}
{{ include "longshore.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "longshore.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "longshore.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "longshore.secretName" -}}
{{- default (include "longshore.fullname" .) .Values.secret.name }}
{{- end }}

{{- define "longshore.configMapName" -}}
{{- default (include "longshore.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{- define "longshore.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The config: the user's, or the preset's. */}}
{{- define "longshore.config" -}}
{{- if not .Values.config }}
{{- .Files.Get (printf "files/%s.yaml" .Values.preset) }}
{{- else if kindIs "string" .Values.config }}
{{- tpl .Values.config . }}
{{- else }}
{{- toYaml .Values.config }}
{{- end }}
{{- end }}

{{/* Not empty where the preset measures the node. */}}
{{- define "longshore.measures" -}}
{{- if ne .Values.preset "logs" }}yes{{ end }}
{{- end }}

{{/* Not empty where the node's root is mounted, for the capacities of its file systems: never for root. */}}
{{- define "longshore.capacities" -}}
{{- if and (include "longshore.measures" .) (not .Values.runAsRoot) }}yes{{ end }}
{{- end }}

{{/* Not empty where the config reads files of the Secret. */}}
{{- define "longshore.secretFiles" -}}
{{- if has .Values.preset (list "default" "logs" "full") }}yes{{ end }}
{{- end }}

{{- define "longshore.owner" -}}
{{- if .Values.runAsRoot }}0:0{{ else }}65532:0{{ end }}
{{- end }}

{{- define "longshore.securityContext" -}}
{{- if .Values.securityContext }}
{{- toYaml .Values.securityContext }}
{{- else -}}
runAsNonRoot: {{ not .Values.runAsRoot }}
runAsUser: {{ ternary 0 65532 .Values.runAsRoot }}
runAsGroup: 0
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end }}
{{- end }}

{{- define "longshore.podSecurityContext" -}}
{{- if .Values.podSecurityContext }}
{{- toYaml .Values.podSecurityContext }}
{{- else -}}
seccompProfile:
  type: RuntimeDefault
{{- if .Values.openShift.enabled }}
seLinuxOptions:
  type: spc_t
{{- end }}
{{- end }}
{{- end }}

{{- define "longshore.env" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: NODE_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- if include "longshore.measures" . }}
- name: HOST_PROC
  value: /host/proc
- name: HOST_SYS
  value: /host/sys
{{- if include "longshore.capacities" . }}
- name: HOST_ROOT
  value: /host/root
{{- else }}
- name: MOUNTS_EXCLUDE
  value: .
{{- end }}
{{- end }}
{{- $secret := include "longshore.secretName" . }}
{{- $keys := dict }}
{{- if has .Values.preset (list "default" "logs") }}
{{- $keys = dict "LOGS_URL" "url" }}
{{- else if eq .Values.preset "full" }}
{{- $keys = dict "LOGS_URL" "url" "METRICS_URL" "metrics_url" }}
{{- else if eq .Values.preset "azure" }}
{{- $keys = dict "AZURE_LOGS_ENDPOINT" "endpoint" "AZURE_DCR" "dcr" }}
{{- end }}
{{- range $name, $key := $keys }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- if eq .Values.preset "otlp" }}
- name: OTLP_URL
  value: {{ .Values.otlp.url | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the config names: mounts of the agent and of the test alike. */}}
{{- define "longshore.configMounts" -}}
- name: config
  mountPath: /etc/longshore
  readOnly: true
{{- if include "longshore.secretFiles" . }}
- name: secrets
  mountPath: /var/run/secrets/longshore
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "longshore.configVolumes" -}}
- name: config
  configMap:
    name: {{ include "longshore.configMapName" . }}
{{- if include "longshore.secretFiles" . }}
- name: secrets
  secret:
    secretName: {{ include "longshore.secretName" . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
