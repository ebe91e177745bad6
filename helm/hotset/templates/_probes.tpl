{{/*
Through the admin port: it answers while the S3 port is busy, and without a token. Liveness asks for nothing but an
answer: an origin that is down is no reason to restart a cache that could serve from what it has.
*/}}
{{- define "hotset.probes" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
{{- $ready := include (ternary "hotset.probe.exec" "hotset.probe.ready" $sidecar) . -}}
startupProbe:
  {{- $ready | nindent 2 }}
  periodSeconds: {{ .Values.startupProbe.periodSeconds }}
  timeoutSeconds: {{ .Values.startupProbe.timeoutSeconds }}
  failureThreshold: {{ default (include "hotset.probe.startup" .) .Values.startupProbe.failureThreshold }}
{{- /* A sidecar that drains is not ready, and must not be restarted for it: it has no liveness probe. */}}
{{- if not $sidecar }}
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  {{- toYaml .Values.livenessProbe | nindent 2 }}
{{- end }}
readinessProbe:
  {{- $ready | nindent 2 }}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
{{- end }}

{{- define "hotset.probe.ready" -}}
httpGet: { path: /readyz, port: admin }
{{- end }}

{{- define "hotset.probe.exec" -}}
exec: { command: [hotset, health, --config, /etc/hotset/hotset.yaml] }
{{- end }}

{{/* A minute, and a second for each GiB of the disk, whose metadata is read before the first request. */}}
{{- define "hotset.probe.startup" -}}
{{- $gibibytes := 0 -}}
{{- if ne (include "hotset.disk.type" .) "none" -}}
{{- $gibibytes = div (include "hotset.mebibytes" .Values.disk.size) 1024 -}}
{{- end -}}
{{ div (add 60 $gibibytes (sub .Values.startupProbe.periodSeconds 1)) .Values.startupProbe.periodSeconds }}
{{- end }}
