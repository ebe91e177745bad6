{{/*
Which pods a client reaches. In front of a DaemonSet its own node's: on clusters that have it by a preference, which
falls back to others while that pod is away, and on older ones by a policy, which does not. Otherwise its own zone's.
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
