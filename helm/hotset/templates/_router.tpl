{{/* Routers are not pods of hotset: its selectors must not match them. */}}
{{- define "hotset.router.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hotset.name" . }}-router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* "true" if there are routers; fails where they cannot work. */}}
{{- define "hotset.router.enabled" -}}
{{- if .Values.router.enabled -}}
{{- if ne .Values.mode "statefulset" -}}
{{- fail (printf "router.enabled: needs mode: statefulset, whose pods have names that stay; this is mode: %s" .Values.mode) -}}
{{- end -}}
{{- if lt (include "hotset.pods" . | int) 2 -}}
{{- fail "router.enabled: needs replicas: 2 or more; one pod needs no router" -}}
{{- end -}}
{{- if not (or (include "hotset.adminToken.known" .) (hasKey (default dict .Values.config.cluster) "peers")) -}}
{{- fail "router.enabled: needs adminToken.existingSecret: replicas tell each other what changed over the admin port; config.cluster.peers: [] does without" -}}
{{- end -}}
true
{{- end -}}
{{- end }}

{{/* The only listener that the routers stand in front of. */}}
{{- define "hotset.router.listener" -}}
{{- $listeners := (include "hotset.config" . | fromYaml).listen -}}
{{- $first := first $listeners -}}
{{- if or (gt (len $listeners) 1) (hasPrefix "unix:" $first.address) -}}
{{- fail "router.enabled: config.listen must be one listener with a port" -}}
{{- end -}}
{{- if ne (dig "tls" "client_auth" "none" (merge (dict) $first (dict "tls" dict))) "none" -}}
{{- fail "router.enabled: config.listen[0].tls.client_auth: routers end TLS, so that hotset sees no certificates of clients" -}}
{{- end -}}
{{- if and $first.tls (not .Values.tls.enabled) -}}
{{- fail "router.enabled: set tls.enabled instead of config.listen[0].tls, so that routers have the certificate, too" -}}
{{- end -}}
{{- toYaml $first -}}
{{- end }}

{{- define "hotset.router.image" -}}
{{- with .Values.router.image -}}
{{- if and (eq .tag "latest") (not .digest) -}}
{{- fail "router.image.tag: latest is another image tomorrow; name a version, or router.image.digest" -}}
{{- end -}}
{{- with .registry }}{{ . }}/{{ end }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* By default over hosts and zones where possible: clients prefer the routers of their zone. */}}
{{- define "hotset.router.spread" -}}
{{- if .Values.router.topologySpreadConstraints -}}
{{- include "hotset.template" (dict "value" .Values.router.topologySpreadConstraints "root" $) -}}
{{- else -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "hotset.router.selectorLabels" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who may reach the routers' pods, as a peer of a NetworkPolicy. */}}
{{- define "hotset.router.peer" -}}
- podSelector:
    matchLabels:
      {{- include "hotset.router.selectorLabels" . | nindent 6 }}
{{- end }}
