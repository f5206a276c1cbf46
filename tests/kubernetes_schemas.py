"""Checks resources against the schemas of Kubernetes, of KEDA and of the Prometheus operator.

A program of its own: the packages with the schemas are not in the tests' environment.
    PYTHONPATH=.cache/schemas python tests/kubernetes_schemas.py VERSION < resources.json
Standard input: a JSON list of resources. Prints one line for each that is refused.
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
    for found in json.load(sys.stdin):
        if said := refusal(found, sys.argv[1]):
            sys.stdout.write(f"{found['kind']}: {said}\n".replace("\n", " ").strip() + "\n")
