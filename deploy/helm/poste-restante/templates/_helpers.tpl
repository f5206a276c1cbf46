{{- define "poste.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: names of pods and Jobs grow from it. */}}
{{- define "poste.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "poste.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "poste.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "poste.selector" -}}
app.kubernetes.io/name: {{ include "poste.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end -}}

{{- define "poste.labels" -}}
{{ include "poste.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "poste.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "poste.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "poste.fullname" . }}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* A map of sections as a flat one, in JSON: {kafka: {topic: x}} is {"kafka.topic": x}. A map with
a key is a value: the reference to a file. Argument: a list of the map. */}}
{{- define "poste.flat" -}}
{{- $flat := dict -}}
{{- range $key, $value := index . 0 -}}
{{- if and (kindIs "map" $value) (not (hasKey $value "key")) -}}
{{- range $inner, $of := $value -}}
{{- $_ := set $flat (printf "%s.%s" $key $inner) $of -}}
{{- end -}}
{{- else -}}
{{- $_ := set $flat $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $flat -}}
{{- end -}}

{{/* The settings that were given, by name, in JSON. */}}
{{- define "poste.given" -}}
{{- $given := include "poste.flat" (list .Values.settings) | fromJson -}}
{{- if and (eq .Values.kind "StatefulSet") (not (get $given "kafka.group_instance_id")) -}}
{{- $_ := set $given "kafka.group_instance_id" "{hostname}" -}}
{{- end -}}
{{- if not (hasKey $given "http.host") -}}
{{- $_ := set $given "http.host" "0.0.0.0" -}}
{{- end -}}
{{- toJson $given -}}
{{- end -}}

{{/* All settings, with the worker's defaults for those that were not given. */}}
{{- define "poste.effective" -}}
{{- $defaults := .Files.Get "files/defaults.json" | fromJson -}}
{{- merge (include "poste.given" . | fromJson) $defaults | toJson -}}
{{- end -}}

{{- define "poste.files" -}}
{{- include "poste.flat" (list .Values.files) -}}
{{- end -}}

{{/* The variable of a setting. */}}
{{- define "poste.variable" -}}
POSTE_{{ . | replace "." "__" | upper }}
{{- end -}}

{{- define "poste.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int -}}
{{- ternary (mul $number 1024) $number (hasSuffix "Gi" .) -}}
{{- end -}}

{{/* The variables of the container. Kubernetes replaces $(NAME) in a value, and leaves $$( alone. */}}
{{- define "poste.env" -}}
{{- $variables := dict -}}
{{- range $setting, $value := include "poste.given" . | fromJson -}}
{{- $text := kindIs "string" $value | ternary $value (toJson $value) -}}
{{- $_ := set $variables (include "poste.variable" $setting) (replace "$(" "$$(" $text) -}}
{{- end -}}
{{- range $setting, $_ := include "poste.files" . | fromJson -}}
{{- $_ := set $variables (include "poste.variable" $setting) (printf "/etc/poste/files/%s" $setting) -}}
{{- end -}}
{{- $_ := set $variables "AWS_DEFAULT_REGION" .Values.aws.region -}}
{{- range $name, $value := $variables }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end -}}
{{- with .Values.env }}
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{/* One volume for all files: certificate and key are replaced together. */}}
{{- define "poste.volumes" -}}
{{- $files := include "poste.files" . | fromJson -}}
{{- if $files -}}
- name: files
  projected:
    defaultMode: 0440
    sources:
    {{- range $setting, $of := $files }}
    {{- if hasKey $of "secret" }}
    - secret:
        name: {{ $of.secret | quote }}
    {{- else }}
    - configMap:
        name: {{ $of.configMap | quote }}
    {{- end }}
        items:
        - {key: {{ $of.key | quote }}, path: {{ $setting | quote }}}
    {{- end }}
{{- end -}}
{{- end -}}

{{- define "poste.volumeMounts" -}}
{{- if include "poste.files" . | fromJson -}}
- {name: files, mountPath: /etc/poste/files, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "poste.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "poste.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What pods of workers and of `poste init` share. */}}
{{- define "poste.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}
