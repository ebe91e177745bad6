{{/* The kind of volume of the disk tier: disk.type, or the default of the mode. */}}
{{- define "hotset.disk.type" -}}
{{- $own := dict "deployment" "none" "statefulset" "claim" "daemonset" "emptyDir" "sidecar" "none" -}}
{{- $type := default (get $own .Values.mode) .Values.disk.type -}}
{{- if and (eq $type "claim") (ne .Values.mode "statefulset") -}}
{{- fail "disk.type: claim is for mode: statefulset, which makes a claim for each pod; elsewhere choose ephemeral" -}}
{{- end -}}
{{ $type }}
{{- end }}

{{/* The volume of the pod; empty for the claims of a StatefulSet. */}}
{{- define "hotset.disk.volume" -}}
{{- $type := include "hotset.disk.type" . -}}
{{- if eq $type "emptyDir" -}}
- name: disk
  emptyDir:
    sizeLimit: {{ .Values.disk.size }}
{{- else if eq $type "ephemeral" -}}
- name: disk
  ephemeral:
    volumeClaimTemplate:
      spec:
        {{- include "hotset.disk.claim" . | nindent 8 }}
{{- else if eq $type "hostPath" -}}
- name: disk
  hostPath:
    {{- toYaml .Values.disk.hostPath | nindent 4 }}
{{- end -}}
{{- end }}

{{- define "hotset.disk.claim" -}}
accessModes: [{{ .Values.disk.accessMode }}]
{{- with .Values.disk.storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.disk.size }}
{{- end }}
