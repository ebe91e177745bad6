{{/*
Traffic distribution. Clients of a DaemonSet use the pod of their own node: by PreferSameNode, which falls back to other
nodes while that pod is down, or on older clusters by internalTrafficPolicy, which does not. Others prefer their zone.
*/}}
{{- define "hotset.traffic" -}}
{{- $daemonset := eq .Values.mode "daemonset" -}}
{{- $distribution := .Values.service.trafficDistribution -}}
{{- $newest := include "hotset.atLeast" (dict "root" . "version" "1.34") -}}
{{- if eq $distribution "auto" -}}
{{- if $newest -}}
{{- $distribution = ternary "PreferSameNode" "PreferSameZone" $daemonset -}}
{{- else if and (include "hotset.atLeast" (dict "root" . "version" "1.31")) (not $daemonset) -}}
{{- $distribution = "PreferClose" -}}
{{- else -}}
{{- $distribution = "" -}}
{{- end -}}
{{- end -}}
{{- $policy := .Values.service.internalTrafficPolicy -}}
{{- if eq $policy "auto" -}}
{{- $policy = ternary "Local" "" (and $daemonset (not $distribution)) -}}
{{- end -}}
{{- with $policy -}}
internalTrafficPolicy: {{ . }}
{{ end -}}
{{- with $distribution -}}
trafficDistribution: {{ . }}
{{- end -}}
{{- end }}
