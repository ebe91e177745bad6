{{/* The pod template of all three workloads. */}}
{{- define "hotset.pod" -}}
metadata:
  labels:
    {{- /* Without helm.sh/chart: a new chart version alone must not restart pods, which would empty their caches. */}}
    {{- include "hotset.selectorLabels" . | nindent 4 }}
    app.kubernetes.io/version: {{ include "hotset.appVersion" . | quote }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- include "hotset.checksums" . | nindent 4 }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "hotset.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
  # hotset does not read the variables of Services.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ default (include "hotset.ports" . | fromYaml).grace .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- include "hotset.template" (dict "value" . "root" $) | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "hotset.container" . | nindent 6 | trim }}
    {{- with .Values.extraContainers }}
    {{- include "hotset.template" (dict "value" . "root" $) | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "hotset.volumes" . | nindent 4 }}
  {{- with include "hotset.scheduling" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
Restarts pods when the configuration changes, unless they reload it. Identities, tokens and certificates are reloaded
without a restart.
*/}}
{{- define "hotset.checksums" -}}
checksum/config: {{ if .Values.reload }}reloaded{{ else }}{{ include "hotset.config" . | sha256sum }}{{ end }}
{{- end }}

{{- define "hotset.scheduling" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- include "hotset.template" (dict "value" . "root" $) | nindent 2 }}
{{- end }}
{{- with include "hotset.spread" . | trim }}
topologySpreadConstraints:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* By default over hosts and zones where possible. A DaemonSet needs none. */}}
{{- define "hotset.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{- include "hotset.template" (dict "value" .Values.topologySpreadConstraints "root" $) -}}
{{- else if ne .Values.mode "daemonset" -}}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "hotset.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}
