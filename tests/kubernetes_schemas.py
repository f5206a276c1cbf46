"""Checks resources against the schemas of Kubernetes, of KEDA and of the Prometheus operator.

A program of its own: the packages with the schemas are not in the tests' environment.
    PYTHONPATH=.cache/schemas python tests/kubernetes_schemas.py < questions
A line of standard input is `[version, resources]` in JSON. The line that answers it is a JSON list
with the reason of each resource that is refused.
"""

import json
import sys
from typing import Any

import kubernetes_validate
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from pydantic import ValidationError

#: Models of the operators' resource definitions. They drop fields that they do not know.
_MODELS = {model.__name__: model for model in (ScaledObject, ServiceMonitor)}


def refusal(resource: dict[str, Any], version: str) -> str:
    """Return what is wrong with a resource; empty: nothing is."""
    model = _MODELS.get(resource["kind"])
    try:
        if model is None:
            kubernetes_validate.validate(resource, version, strict=True)
            return ""
        kept = model.model_validate(resource).model_dump(
            by_alias=True, exclude_unset=True, mode="json"
        )
    except (kubernetes_validate.ValidationError, ValidationError) as error:
        return str(error)
    return "" if kept == resource else f"unknown fields: of {resource} is known {kept}"


if __name__ == "__main__":
    for line in sys.stdin:
        version, resources = json.loads(line)
        reasons = [
            f"{resource['kind']}: {reason}"
            for resource in resources
            if (reason := refusal(resource, version))
        ]
        print(json.dumps(reasons), flush=True)
