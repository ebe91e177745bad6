{{/* Converts a Kubernetes quantity (2Gi, 500M, 1073741824) to whole MiB. */}}
{{- define "hotset.mebibytes" -}}
{{- $text := ternary (toString .) (printf "%.0f" (float64 .)) (kindIs "string" .) -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9]+([.][0-9]+)?[A-Za-z]*$" $text)) -}}
{{- fail (printf "%s is not a quantity such as 2Gi" $text) -}}
{{- end -}}
{{ divf (mulf (regexFind "^[0-9.]+" $text | float64) (get $units $unit | float64)) 1048576 | floor | int64 }}
{{- end }}

{{/* Converts a duration of hotset (30s, 2m30s, 500ms) to seconds, rounded up. */}}
{{- define "hotset.seconds" -}}
{{- $millis := dict "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $total := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" (toString .) -1 -}}
{{- $total = add $total (mul (regexFind "^[0-9]+" .) (get $millis (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{ div (add $total 999) 1000 }}
{{- end }}

{{/* "true" if the cluster has at least this minor version: dict "root" $ "version" "1.31". */}}
{{- define "hotset.atLeast" -}}
{{- if semverCompare (printf ">=%s-0" .version) .root.Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end }}
