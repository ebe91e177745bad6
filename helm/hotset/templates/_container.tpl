{{- define "hotset.container" -}}
name: hotset
image: {{ include "hotset.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/hotset/hotset.yaml]
{{- with include "hotset.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- include "hotset.containerPorts" . | trim | nindent 2 }}
{{ include "hotset.probes" . }}
{{- with .Values.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "hotset.mounts" . | nindent 2 }}
{{- end }}

{{- define "hotset.env" -}}
{{- with .Values.credentials -}}
{{- if .existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .accessKeyIdKey }} } }
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretAccessKeyKey }} } }
{{- with .sessionTokenKey }}
- name: AWS_SESSION_TOKEN
  valueFrom: { secretKeyRef: { name: {{ $.Values.credentials.existingSecret }}, key: {{ . }} } }
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.events }}
{{- if .sqs.queueUrls }}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- end }}
{{- range $index, $url := .sqs.queueUrls }}
- name: HOTSET_EVENTS__SQS__{{ $index }}__QUEUE
  value: {{ $url | quote }}
{{- end }}
{{- if and .webhook.enabled .webhook.existingSecret }}
- name: HOTSET_EVENTS__WEBHOOK__TOKENS__0
  valueFrom: { secretKeyRef: { name: {{ .webhook.existingSecret }}, key: {{ .webhook.key }} } }
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "hotset.containerPorts" -}}
{{- $ports := include "hotset.ports" . | fromYaml -}}
{{- range $ports.s3 }}
- name: {{ .name }}
  containerPort: {{ .port }}
{{- end }}
- name: admin
  containerPort: {{ $ports.admin }}
{{- if .Values.events.webhook.enabled }}
- name: webhook
  containerPort: {{ .Values.events.webhook.port }}
{{- end }}
{{- end }}
