{{/* Combinations of values that cannot work. values.schema.json checks each value alone. */}}
{{- define "poste.checks" -}}
{{- $given := include "poste.given" . | fromJson -}}
{{- $set := include "poste.effective" . | fromJson -}}
{{- $files := include "poste.files" . | fromJson -}}

{{- if not (regexMatch "^[a-z]" (include "poste.fullname" .)) -}}
{{- fail (printf "the release's name %s must begin with a letter: a Service has it" (include "poste.fullname" .)) -}}
{{- end -}}

{{- $drain := addf (get $set "drain_s") (get $set "leave_s") -}}
{{- $grace := .Values.terminationGracePeriodSeconds | float64 -}}
{{- if and (gt $grace 0.0) (le $grace $drain) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v: a worker takes up to drain_s + leave_s = %v s to stop; use more, or 0" $grace $drain) -}}
{{- end -}}

{{- $limit := include "poste.mebibytes" .Values.resources.limits.memory | int -}}
{{- $requests := .Values.resources.requests | default dict -}}
{{- if lt $limit 128 -}}
{{- fail (printf "resources.limits.memory is %s: a worker needs 128Mi" .Values.resources.limits.memory) -}}
{{- end -}}
{{- if and (hasKey $requests "memory") (gt (include "poste.mebibytes" $requests.memory | int) $limit) -}}
{{- fail (printf "resources.requests.memory is %s, above resources.limits.memory, %s" $requests.memory .Values.resources.limits.memory) -}}
{{- end -}}
{{- if gt (get $set "memory_mb" | int) $limit -}}
{{- fail (printf "settings.memory_mb is %d: resources.limits.memory, %s, allows less; raise it, or leave settings.memory_mb out" (get $set "memory_mb" | int) .Values.resources.limits.memory) -}}
{{- end -}}

{{- if gt (mulf (get $set "kafka.heartbeat_s") 3) (get $set "kafka.session_timeout_s") -}}
{{- fail "settings.kafka.heartbeat_s must be at most a third of settings.kafka.session_timeout_s" -}}
{{- end -}}
{{- $longest := maxf (get $set "kafka.commit_interval_s") (get $set "batch.linger_s") (mulf 2 (get $set "dynamodb.timeout_s")) -}}
{{- if le (get $set "stalled_s" | float64) $longest -}}
{{- fail (printf "settings.stalled_s must be above %v: kafka.commit_interval_s, batch.linger_s and twice dynamodb.timeout_s must fit into it" $longest) -}}
{{- end -}}
{{- $dead := get $set "kafka.dead_letters_topic" -}}
{{- if and $dead (eq (replace "." "_" $dead) (replace "." "_" (get $set "kafka.topic"))) -}}
{{- fail "settings.kafka.dead_letters_topic must differ from settings.kafka.topic in more than `.` and `_`" -}}
{{- end -}}

{{- $instance := get $set "kafka.group_instance_id" -}}
{{- if and $instance (not (contains "{hostname}" $instance)) -}}
{{- fail "settings.kafka.group_instance_id must contain {hostname}: every pod needs an id of its own" -}}
{{- end -}}

{{- $variables := dict -}}
{{- range .Values.env -}}
{{- $name := upper .name -}}
{{- if hasKey $variables $name -}}
{{- fail (printf "env has %s twice" .name) -}}
{{- end -}}
{{- $_ := set $variables $name true -}}
{{- if has $name (list "AWS_DEFAULT_REGION" "AWS_REGION") -}}
{{- fail (printf "env has %s: use aws.region" .name) -}}
{{- end -}}
{{- end -}}
{{- range $setting, $_ := merge (dict) $given $files -}}
{{- if hasKey $variables (include "poste.variable" $setting) -}}
{{- fail (printf "%s is in env and in settings or files" (include "poste.variable" $setting)) -}}
{{- end -}}
{{- end -}}

{{- $protocol := get $set "kafka.security_protocol" -}}
{{- if hasPrefix "SASL" $protocol -}}
{{- if eq (get $set "kafka.sasl_mechanism") "OAUTHBEARER" -}}
{{- if not (get $set "kafka.sasl_oauth_token_provider") -}}
{{- fail "settings.kafka.sasl_mechanism OAUTHBEARER needs settings.kafka.sasl_oauth_token_provider" -}}
{{- end -}}
{{- else -}}
{{- if not (or (get $set "kafka.sasl_plain_username") (hasKey $variables "POSTE_KAFKA__SASL_PLAIN_USERNAME")) -}}
{{- fail (printf "settings.kafka.security_protocol %s needs settings.kafka.sasl_plain_username" $protocol) -}}
{{- end -}}
{{- if not (hasKey $files "kafka.sasl_plain_password_file") -}}
{{- fail (printf "settings.kafka.security_protocol %s needs files.kafka.sasl_plain_password_file" $protocol) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey $files "kafka.ssl_keyfile") (not (hasKey $files "kafka.ssl_certfile")) -}}
{{- fail "files.kafka.ssl_keyfile needs files.kafka.ssl_certfile, the certificate of that key" -}}
{{- end -}}

{{- if .Values.keda.enabled -}}
{{- if gt (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas) -}}
{{- fail "keda.minReplicas is above keda.maxReplicas" -}}
{{- end -}}
{{- if and (ne $protocol "PLAINTEXT") (not .Values.keda.authenticationRef) -}}
{{- fail (printf "settings.kafka.security_protocol %s needs keda.authenticationRef, the name of a TriggerAuthentication" $protocol) -}}
{{- end -}}
{{- end -}}
{{- end -}}
