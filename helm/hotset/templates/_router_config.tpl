{{/*
The routers' configuration. conf/router/haproxy.cfg is the same for machines without Kubernetes; a test compares them.
*/}}
{{- define "hotset.router.config" -}}
{{- $router := .Values.router -}}
{{- $listener := include "hotset.router.listener" . | fromYaml -}}
{{- $port := include "hotset.port" $listener.address -}}
{{- $six := hasPrefix "[" $listener.address -}}
{{- $pods := include "hotset.pods" . | int -}}
{{- $name := include "hotset.fullname" . -}}
{{- $domain := printf "%s-headless.%s.svc.%s" $name .Release.Namespace .Values.clusterDomain -}}
global
    maxconn {{ $router.maxConnections }}
    nbthread {{ $router.threads }}
    # A URL of 16 KiB and 8 KiB of headers fit, as hotset takes them.
    tune.bufsize 32768
    tune.http.maxhdr 256
    # After SIGUSR1: no new connections; what runs has this long to end.
    hard-stop-after {{ $router.grace }}s
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets

defaults
    mode http
    log global
    # Without queries: those of presigned URLs sign.
    log-format "%ci:%cp %HM %HP %ST %B bytes %b/%s %TR/%Tw/%Tc/%Tr/%Ta ms %ts retries %rc"
    option dontlognull
    {{- if not $router.accessLog }}
    option dontlog-normal
    {{- end }}
    # Bodies are passed on as they come.
    option http-no-delay
    option splice-auto
    option abortonclose
    option idle-close-on-response
    timeout connect 1s
    timeout http-request 30s
    # Longer than load balancers in front keep an idle connection.
    timeout http-keep-alive 75s
    # No byte from or to the client, or from hotset: some calls of S3 take minutes before they answer.
    timeout client 2m
    timeout server 10m
    timeout check 2s
    timeout queue 10s
    # What comes from here and not from hotset is S3's XML, too.
    http-error status 400 content-type application/xml string "<Error><Code>InvalidRequest</Code><Message>The router cannot read the request.</Message></Error>"
    http-error status 408 content-type application/xml string "<Error><Code>RequestTimeout</Code><Message>The request did not arrive in time.</Message></Error>"
    http-error status 502 content-type application/xml string "<Error><Code>InternalError</Code><Message>The connection to hotset broke.</Message></Error>"
    http-error status 503 content-type application/xml string "<Error><Code>SlowDown</Code><Message>No hotset is ready.</Message></Error>"
    http-error status 504 content-type application/xml string "<Error><Code>InternalError</Code><Message>Hotset did not answer in time.</Message></Error>"

# Pods are found by name, so that one keeps its objects when it comes back under another address.
resolvers cluster
    parse-resolv-conf
    accepted_payload_size 8192
    timeout resolve 2s
    timeout retry 1s
    hold nx 2s

frontend s3
    bind {{ ternary "[::]" "" $six }}:{{ $port }}{{ if $six }} v4v6{{ end }}{{ if .Values.tls.enabled }} ssl crt /etc/router/tls/tls.crt alpn h2,http/1.1{{ end }}

    # The home of a request: /bucket/key, decoded, in both styles. Without a key: /bucket/.
    http-request set-var(txn.host) req.hdr(host),field(1,:),lower,rtrim(.)
    {{- include "hotset.router.buckets" $listener.domains | trim | nindent 4 }}
    http-request set-var(txn.path) path,url_dec
    http-request set-var(txn.home) var(txn.path)
    http-request set-var(txn.home) str(/),concat(,txn.bucket,),concat(,txn.path,) if { var(txn.bucket) -m found }
    http-request set-var(txn.home) var(txn.home),concat(/) if { var(txn.home) -m reg ^/[^/]*$ }

    # Each client connection keeps one connection to each hotset.
    max-session-srv-conns {{ max $pods 5 }}
    default_backend hotset

backend hotset
    balance hash var(txn.home)
    hash-type consistent crc32 avalanche
    {{- with $router.balanceFactor }}
    hash-balance-factor {{ . }}
    {{- end }}
    # A read that got no byte of an answer is tried again elsewhere; any other request only if no connection was made.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    http-request disable-l7-retry unless { method GET HEAD }
    # Ready: takes part. 503, draining: gets no new requests, and what runs there ends. No answer: is down, and what waits
    # there is broken off.
    option httpchk GET /readyz
    http-check expect ! status 503 error-status L7OKC
    http-check expect status 200
    default-server check {{ if include "hotset.admin.tls" . }}check-ssl verify none {{ end }}port {{ (include "hotset.ports" . | fromYaml).admin }} inter 1s fastinter 250ms fall 3 rise 1 observe layer4 error-limit 1 on-error sudden-death on-marked-down shutdown-sessions weight 256
    {{- if $listener.proxy_protocol }}
    default-server send-proxy-v2
    {{- end }}
    {{- if .Values.tls.enabled }}
    default-server {{ include "hotset.router.tls" . }}
    {{- end }}
    default-server resolvers cluster resolve-prefer {{ ternary "ipv6" "ipv4" $six }} init-addr none
    # The id decides what is whose: never give it to another one.
    {{- range $index := until $pods }}
    server {{ $name }}-{{ $index }} {{ $name }}-{{ $index }}.{{ $domain }}:{{ $port }} id {{ add $index 1 }}
    {{- end }}

# For operators: liveness and readiness of the router itself, and metrics.
frontend operators
    bind {{ ternary "[::]" "" $six }}:{{ $router.operatorsPort }}{{ if $six }} v4v6{{ end }}
    option dontlog-normal
    http-request return status 200 if { path /healthz }
    http-request return status 200 if { path /readyz } { nbsrv(hotset) gt 0 }
    http-request return status 503 if { path /readyz }
    http-request use-service prometheus-exporter if { path /metrics }
    http-request return status 404
{{- end }}

{{/* The bucket in a host name: what is in front of the longest listed domain. */}}
{{- define "hotset.router.buckets" -}}
{{- $domains := . -}}
{{- with $domains -}}
acl is_domain var(txn.host) -m str {{ join " " . }}
{{- /* Each length in turn, the longest first. */}}
{{- $lengths := list -}}
{{- range . -}}
{{- $lengths = append $lengths (printf "%04d" (len .)) -}}
{{- end -}}
{{- range $length := reverse ($lengths | uniq | sortAlpha) }}
{{- range $domain := $domains | uniq }}
{{- if eq $length (printf "%04d" (len $domain)) }}
http-request set-var(txn.bucket) var(txn.host),regsub(\.{{ replace "." "\\." $domain }}$,) if !is_domain { var(txn.host) -m end .{{ $domain }} } !{ var(txn.bucket) -m found }
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* TLS towards the pods: their certificate is for the name of the Service. */}}
{{- define "hotset.router.tls" -}}
{{- $name := default (printf "%s.%s.svc" (include "hotset.fullname" .) .Release.Namespace) .Values.router.tls.serverName -}}
ssl alpn http/1.1 sni str({{ $name }})
{{- if .Values.router.tls.caKey }} verify required ca-file /etc/router/tls/ca.crt{{ else }} verify none{{ end -}}
{{- end }}
