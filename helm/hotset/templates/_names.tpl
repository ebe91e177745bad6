{{/* The appVersion. In a sidecar .Chart is that of the parent chart, so it is written here as well. */}}
{{- define "hotset.appVersion" -}}
0.2.0
{{- end }}

{{- define "hotset.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Leaves room for the suffixes of Services and of the pods of a StatefulSet. */}}
{{- define "hotset.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "hotset.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "hotset.selectorLabels" . }}
app.kubernetes.io/version: {{ include "hotset.appVersion" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Selectors are immutable: never add to these two. */}}
{{- define "hotset.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hotset.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Metadata of an object: dict "root" $, optionally "suffix", "labels" and "annotations". */}}
{{- define "hotset.metadata" -}}
name: {{ include "hotset.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "hotset.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "hotset.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "hotset.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "hotset.image" -}}
{{- $image := .Values.image -}}
{{- if and (eq $image.tag "latest") (not $image.digest) -}}
{{- fail "image.tag: latest is another image tomorrow; name a version, or image.digest" -}}
{{- end -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (include "hotset.appVersion" .) $image.tag }}{{ end -}}
{{- end }}

{{/* The Secret with the identities file: an existing one, the chart's own, or "". */}}
{{- define "hotset.identities.secret" -}}
{{- if .Values.identities.existingSecret -}}
{{ .Values.identities.existingSecret }}
{{- else if .Values.identities.content -}}
{{ include "hotset.fullname" . }}-identities
{{- end -}}
{{- end }}

{{- define "hotset.tls.secret" -}}
{{ default (printf "%s-tls" (include "hotset.fullname" .)) .Values.tls.existingSecret }}
{{- end }}

{{/* Renders a value that may contain templates, given as a string or as YAML. */}}
{{- define "hotset.template" -}}
{{ tpl (ternary .value (toYaml .value) (kindIs "string" .value)) .root }}
{{- end }}

{{/* The most pods that a deployment or statefulset may have. */}}
{{- define "hotset.pods" -}}
{{ ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int }}
{{- end }}
