{{/*
Parts of the pod of a parent chart that runs hotset as a sidecar, with `mode: sidecar` in the values of this chart:

  spec:
    initContainers:
      {{- include "hotset.sidecar" (dict "parent" $ "part" "container") | nindent 6 }}
    containers:
      - name: app
        env:
          {{- include "hotset.sidecar" (dict "parent" $ "part" "env") | nindent 10 }}
        volumeMounts:                    # only for clients that use the unix socket
          {{- include "hotset.sidecar" (dict "parent" $ "part" "mounts") | nindent 10 }}
    volumes:
      {{- include "hotset.sidecar" (dict "parent" $ "part" "volumes") | nindent 6 }}

The part "annotations" belongs below the annotations of the pod. For a dependency with an alias add "as" "ALIAS".
*/}}
{{- define "hotset.sidecar" -}}
{{- $as := default "hotset" .as -}}
{{- $values := get .parent.Values $as -}}
{{- if not $values -}}
{{- fail (printf "hotset.sidecar: there is no dependency named %s; say \"as\" where it has an alias" $as) -}}
{{- end -}}
{{- $chart := dict "Name" $as "Version" (include "hotset.appVersion" .) -}}
{{- $hotset := dict "Values" $values "Chart" $chart "Release" .parent.Release "Capabilities" .parent.Capabilities "Template" .parent.Template -}}
{{- if ne $values.mode "sidecar" -}}
{{- fail (printf "%s.mode: must be sidecar where hotset.sidecar is included" $as) -}}
{{- end -}}
{{- if not (include "hotset.atLeast" (dict "root" $hotset "version" "1.29")) -}}
{{- fail "hotset.sidecar: native sidecars need Kubernetes 1.29" -}}
{{- end -}}
{{- include (printf "hotset.sidecar.%s" .part) $hotset -}}
{{- end }}

{{/* An item of initContainers: only there restartPolicy makes a native sidecar. */}}
{{- define "hotset.sidecar.container" -}}
- {{ include "hotset.container" . | nindent 2 | trim }}
  restartPolicy: Always
{{- end }}

{{- define "hotset.sidecar.volumes" -}}
{{ include "hotset.volumes" . }}
{{- end }}

{{- define "hotset.sidecar.mounts" -}}
{{- if .Values.sidecar.socket.enabled -}}
- name: hotset-socket
  mountPath: {{ .Values.sidecar.socket.mountPath }}
{{- end -}}
{{- end }}

{{/* The endpoint for AWS SDKs; other clients take it as an option. */}}
{{- define "hotset.sidecar.env" -}}
- name: AWS_ENDPOINT_URL_S3
  value: http://127.0.0.1:{{ (index (include "hotset.ports" . | fromYaml).s3 0).port }}
{{- end }}

{{- define "hotset.sidecar.annotations" -}}
{{ include "hotset.checksums" . }}
{{- end }}
