"""Recognizes the variables with which Kubernetes tells a container about Services. Pure.

For every Service of a namespace the kubelet sets variables that begin with the Service's name,
upper case, `_` for `-`. Those of a Service named `poste` or `poste-...` begin as this project's
settings do. Source: "Discovering services" in Kubernetes' documentation of Services;
`enableServiceLinks: false` in a pod's specification switches them off.

    POSTE_SERVICE_HOST=10.0.0.1                 POSTE_PORT=tcp://10.0.0.1:6066
    POSTE_SERVICE_PORT=6066                     POSTE_PORT_6066_TCP=tcp://10.0.0.1:6066
    POSTE_SERVICE_PORT_HTTP=6066                POSTE_PORT_6066_TCP_PROTO=tcp, _PORT, _ADDR
"""

import re
from ipaddress import ip_address

from worker.settings import ENV_PREFIX

#: A Service's name, `poste` or `poste-...`, then the suffix of a kind of variable. Case counts: the
#: kubelet writes upper case.
_NAME = re.compile(
    rf"{ENV_PREFIX}(?:[A-Z0-9]+_)*?"
    r"(?:SERVICE_(?P<host>HOST)|SERVICE_(?P<port>PORT)(?:_[A-Z0-9_]+)?"
    r"|(?P<url>PORT)(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?P<part>PROTO|PORT|ADDR))?)?)"
)
_NUMBER = re.compile(r"\d{1,5}")
_PROTOCOL = re.compile(r"tcp|udp|sctp")
_URL = re.compile(r"(?:tcp|udp|sctp)://(?P<host>.+):\d{1,5}")


def is_service_link(variable: str, value: str) -> bool:
    """Return whether Kubernetes set a variable about a Service, by its name and its value.

    The value counts, so that a misspelt setting is none: `POSTE_HTTP_PORT=6067` is meant for
    `http.port`, but `POSTE_HTTP_PORT=tcp://10.0.0.1:6067` belongs to a Service `poste-http`. Two
    adjacent underscores never belong to a Service: they separate a setting's section from its key.
    """
    if "__" in variable or (match := _NAME.fullmatch(variable)) is None:
        return False
    if match["host"] or match["part"] == "ADDR":
        return _is_address(value)
    if match["port"] or match["part"] == "PORT":
        return _NUMBER.fullmatch(value) is not None
    if match["part"] == "PROTO":
        return _PROTOCOL.fullmatch(value) is not None
    url = _URL.fullmatch(value)
    return url is not None and _is_address(url["host"].strip("[]"))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
