{{/*
All probes use the admin port, which answers without a token and however busy the S3 port is. Liveness must not depend
on the origin: a cache that serves hits while the origin is down must not be restarted.
*/}}
{{- define "hotset.probes" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
{{- $ready := include (ternary "hotset.probe.exec" "hotset.probe.ready" $sidecar) . -}}
startupProbe:
  {{- $ready | nindent 2 }}
  periodSeconds: {{ .Values.startupProbe.periodSeconds }}
  timeoutSeconds: {{ .Values.startupProbe.timeoutSeconds }}
  failureThreshold: {{ default (include "hotset.probe.startup" .) .Values.startupProbe.failureThreshold }}
{{- /* The exec probe fails while a sidecar drains, so it would be restarted by a liveness probe. */}}
{{- if not $sidecar }}
livenessProbe:
  httpGet: { path: /healthz, port: admin{{ include "hotset.admin.scheme" . }} }
  {{- toYaml .Values.livenessProbe | nindent 2 }}
{{- end }}
readinessProbe:
  {{- $ready | nindent 2 }}
  {{- toYaml .Values.readinessProbe | nindent 2 }}
{{- end }}

{{- define "hotset.probe.ready" -}}
httpGet: { path: /readyz, port: admin{{ include "hotset.admin.scheme" . }} }
{{- end }}

{{/* The scheme of probes; kubelets take any certificate. */}}
{{- define "hotset.admin.scheme" -}}
{{- if include "hotset.admin.tls" . }}, scheme: HTTPS{{ end -}}
{{- end }}

{{/* "true" if config has the admin port speak TLS. */}}
{{- define "hotset.admin.tls" -}}
{{- if dig "admin" "tls" "" .Values.config -}}true{{- end -}}
{{- end }}

{{- define "hotset.probe.exec" -}}
exec: { command: [hotset, health, --config, /etc/hotset/hotset.yaml] }
{{- end }}

{{/* The failureThreshold for a minute and a second per GiB of disk, whose index is read before the first request. */}}
{{- define "hotset.probe.startup" -}}
{{- $gibibytes := 0 -}}
{{- if ne (include "hotset.disk.type" .) "none" -}}
{{- $gibibytes = div (include "hotset.mebibytes" .Values.disk.size) 1024 -}}
{{- end -}}
{{ div (add 60 $gibibytes (sub .Values.startupProbe.periodSeconds 1)) .Values.startupProbe.periodSeconds }}
{{- end }}
