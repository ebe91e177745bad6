{{/*
The configuration: `config`, completed with defaults that follow from other values.
With hasKey and not with `merge`, which overwrites an explicit `false`.
*/}}
{{- define "hotset.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.listen -}}
{{- $_ := set $config "listen" (include "hotset.config.listen" . | fromYaml).listen -}}
{{- end -}}
{{- $first := first $config.listen -}}
{{- if and .Values.tls.enabled (not (hasKey $first "tls")) -}}
{{- $_ := set $first "tls" (dict "cert" "/etc/hotset/tls/tls.crt" "key" "/etc/hotset/tls/tls.key") -}}
{{- end -}}
{{- if and .Values.router.enabled .Values.router.proxyProtocol (not (hasKey $first "proxy_protocol")) -}}
{{- /* From anywhere: the NetworkPolicy lets only routers in. */}}
{{- $_ := set $first "proxy_protocol" (dict "from" (list "0.0.0.0/0" "::/0")) -}}
{{- end -}}
{{- range $section, $keys := include "hotset.config.defaults" . | fromYaml -}}
{{- $chosen := default dict (get $config $section) -}}
{{- range $key, $value := $keys -}}
{{- if not (hasKey $chosen $key) -}}
{{- $_ := set $chosen $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config $section $chosen -}}
{{- end -}}
{{- with .Values.events.webhook -}}
{{- if .enabled -}}
{{- $address := dict "address" (printf "0.0.0.0:%v" .port) -}}
{{- $events := default dict $config.events -}}
{{- $_ := set $events "webhook" (merge (default dict $events.webhook) $address) -}}
{{- $_ := set $config "events" $events -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.mode "sidecar") .Values.sidecar.socket.enabled -}}
{{- $socket := dict "address" (printf "unix:%s/s3.sock" .Values.sidecar.socket.mountPath) "mode" .Values.sidecar.socket.mode -}}
{{- $_ := set $config "listen" (append $config.listen $socket) -}}
{{- end -}}
{{- /* Pods that are replaced one after the other keep their configuration until then. */}}
{{- if not (or .Values.reload (hasKey $config "reload")) -}}
{{- $_ := set $config "reload" nil -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{/*
The default listener. Domains are those of virtual-hosted style: a label in front of one names a bucket. The others are
path style, and with auth.mode trust public names are refused that are not listed.
*/}}
{{- define "hotset.config.listen" -}}
{{- $name := include "hotset.fullname" . -}}
{{- $service := printf "%s.%s" $name .Release.Namespace -}}
listen:
  {{- if eq .Values.mode "sidecar" }}
  - address: 127.0.0.1:9000
  {{- else }}
  - address: 0.0.0.0:9000
    domains:
      - {{ $name }}
      - {{ $service }}
      - {{ $service }}.svc
      - {{ $service }}.svc.{{ .Values.clusterDomain }}
      {{- if .Values.ingress.enabled }}
      {{- range .Values.ingress.hosts }}
      - {{ . }}
      {{- end }}
      {{- end }}
      {{- if .Values.httpRoute.enabled }}
      {{- range .Values.httpRoute.hostnames }}
      - {{ . }}
      {{- end }}
      {{- end }}
  {{- end }}
{{- end }}

{{- define "hotset.config.defaults" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
{{- $mode := default dict .Values.config.auth | dig "mode" "" -}}
{{- $identities := include "hotset.identities.secret" . -}}
admin:
  # A sidecar is probed by exec, so that nothing outside of the pod reaches its admin port.
  address: {{ ternary "127.0.0.1:9001" "0.0.0.0:9001" $sidecar }}
  {{- if .Values.adminToken.existingSecret }}
  token_file: /etc/hotset/admin/token
  {{- end }}
auth:
  {{- if and $identities (or (not $mode) (eq $mode "verify")) }}
  mode: verify
  identities: /etc/hotset/identities/identities.yaml
  {{- else if or (not $mode) (eq $mode "trust") }}
  mode: trust
  writes: false
  open: {{ not $sidecar }}
  {{- end }}
cache:
  {{- include "hotset.config.memory" . | nindent 2 }}
  {{- if ne (include "hotset.disk.type" .) "none" }}
  disk:
    # A subdirectory: the root of a volume belongs to root, so that its mode cannot be set to 0700.
    - path: {{ .Values.disk.mountPath }}/blocks
      capacity: {{ div (mul (include "hotset.mebibytes" .Values.disk.size) .Values.disk.percent) 100 }}MiB
  {{- end }}
{{- with include "hotset.peers" . }}
cluster:
  peers: {{ . }}
{{- end }}
{{- if .Values.router.enabled }}
limits:
  # Longer than routers keep a connection on which nothing comes.
  keep_alive: 10m
{{- end }}
shutdown:
  {{- if $sidecar }}
  # The default terminationGracePeriodSeconds of a pod is 30.
  grace: 10s
  {{- else }}
  delay: 10s
  {{- end }}
{{- end }}

{{/*
The admin ports of all replicas, which tell each other what changed; "" if there is one pod, or no token, which they need.
*/}}
{{- define "hotset.peers" -}}
{{- $replicated := and (has .Values.mode (list "deployment" "statefulset")) (gt (include "hotset.pods" . | int) 1) -}}
{{- if and $replicated (include "hotset.adminToken.known" .) -}}
{{- $admin := dig "admin" "address" "0.0.0.0:9001" .Values.config -}}
{{ include "hotset.fullname" . }}-headless.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ include "hotset.port" $admin }}
{{- end -}}
{{- end }}

{{/* "true" if the admin port has a token, as far as the values say. */}}
{{- define "hotset.adminToken.known" -}}
{{- $admin := default dict .Values.config.admin -}}
{{- $known := or .Values.adminToken.existingSecret $admin.token $admin.token_file -}}
{{- range .Values.extraEnv -}}
{{- $known = or $known (has .name (list "HOTSET_ADMIN__TOKEN" "HOTSET_ADMIN__TOKEN_FILE")) -}}
{{- end -}}
{{- if $known -}}true{{- end -}}
{{- end }}

{{/* Half of the memory limit for cached objects and a quarter for bytes in flight; the rest is for connections. */}}
{{- define "hotset.config.memory" -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $limit := include "hotset.mebibytes" . | int64 -}}
{{- if lt $limit 128 -}}
{{- fail (printf "resources.limits.memory: %s is too little, hotset needs at least 128Mi" (toString .)) -}}
{{- end -}}
memory: {{ div $limit 2 }}MiB
in_flight: {{ div $limit 4 }}MiB
read_ahead: {{ div (mul $limit 3) 32 }}MiB
{{- end -}}
{{- end }}

{{/* The port of an address such as 0.0.0.0:9000 or [::]:9000. */}}
{{- define "hotset.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{/* Ports of the listeners, and terminationGracePeriodSeconds, as a dict. */}}
{{- define "hotset.ports" -}}
{{- $config := include "hotset.config" . | fromYaml -}}
{{- if not $config.admin.address -}}
{{- fail "config.admin.address: the probes need the admin port" -}}
{{- end -}}
s3:
{{- range $index, $listen := $config.listen }}
{{- if not (hasPrefix "unix:" $listen.address) }}
  - name: {{ ternary "s3" (printf "s3-%d" $index) (eq $index 0) }}
    port: {{ include "hotset.port" $listen.address }}
{{- end }}
{{- end }}
admin: {{ include "hotset.port" $config.admin.address }}
grace: {{ add (include "hotset.seconds" (default "0s" $config.shutdown.delay)) (include "hotset.seconds" (default "30s" $config.shutdown.grace)) 10 }}
{{- end }}
