{{- define "hotset.mounts" -}}
- name: config
  mountPath: /etc/hotset
  readOnly: true
{{- if ne (include "hotset.disk.type" .) "none" }}
- name: disk
  mountPath: {{ .Values.disk.mountPath }}
{{- end }}
{{- if and (eq .Values.mode "sidecar") .Values.sidecar.socket.enabled }}
- name: hotset-socket
  mountPath: {{ .Values.sidecar.socket.mountPath }}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "hotset.volumes" -}}
- name: config
  projected:
    {{- /* 0440 needs the fsGroup of the pod, and the pod of a sidecar may have none. */}}
    defaultMode: {{ ternary "0444" "0440" (eq .Values.mode "sidecar") }}
    sources:
      {{- include "hotset.files" . | nindent 6 }}
{{- with include "hotset.disk.volume" . }}
{{ . }}
{{- end }}
{{- if and (eq .Values.mode "sidecar") .Values.sidecar.socket.enabled }}
- name: hotset-socket
  emptyDir: {}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Everything below /etc/hotset is one projected volume, so that running pods see changed Secrets, atomically. */}}
{{- define "hotset.files" -}}
- configMap:
    name: {{ include "hotset.fullname" . }}
{{- with include "hotset.identities.secret" . }}
- secret:
    name: {{ . }}
    items: [{ key: {{ $.Values.identities.key }}, path: identities/identities.yaml }]
{{- end }}
{{- with .Values.adminToken.existingSecret }}
- secret:
    name: {{ . }}
    items: [{ key: {{ $.Values.adminToken.key }}, path: admin/token }]
{{- end }}
{{- if .Values.tls.enabled }}
- secret:
    name: {{ include "hotset.tls.secret" . }}
    items: [{ key: tls.crt, path: tls/tls.crt }, { key: tls.key, path: tls/tls.key }]
{{- end }}
{{- end }}
