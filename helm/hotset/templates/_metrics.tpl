{{- define "hotset.scrape" -}}
port: admin
path: /metrics
{{- if .tls }}
scheme: https
tlsConfig:
  {{- toYaml .tlsConfig | nindent 2 }}
{{- end }}
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
