"""Kubernetes' variables about Services that are called as we are: no settings, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config_file import load_settings, variable_name
from worker.errors import ConfigurationError
from worker.service_links import is_service_link
from worker.settings import setting_fields

SETTINGS = [variable_name(name) for name, _ in setting_fields()]
#: Values as the kubelet writes them, and as an operator may write a setting.
VALUES = [
    "tcp://10.0.0.1:6066", "udp://[fd00::1]:53", "10.0.0.1", "fd00::1", "6066", "tcp", "sctp",
    "", "127.0.0.1", "1", "x",
]  # fmt: skip
#: Names of Services: labels as of RFC 1035 that begin as ours do.
_SERVICES = st.from_regex(r"poste(?:-[a-z0-9]{1,8}){0,3}", fullmatch=True)
_PORT_NAMES = st.from_regex(r"[a-z](?:-?[a-z0-9]){0,8}", fullmatch=True)


def service_links(
    service: str, *, address: str, port: int, protocol: str, port_name: str
) -> dict[str, str]:
    """What the kubelet sets for one Service with one port (pkg/kubelet/envvars/envvars.go)."""
    prefix = service.upper().replace("-", "_")
    host = f"[{address}]" if ":" in address else address
    url, of_port = f"{protocol}://{host}:{port}", f"{prefix}_PORT_{port}_{protocol.upper()}"
    return {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(port),
        f"{prefix}_SERVICE_PORT_{port_name.upper().replace('-', '_')}": str(port),
        f"{prefix}_PORT": url,
        of_port: url,
        f"{of_port}_PROTO": protocol,
        f"{of_port}_PORT": str(port),
        f"{of_port}_ADDR": address,
    }


@given(
    service=_SERVICES,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    protocol=st.sampled_from(["tcp", "udp", "sctp"]),
    port_name=_PORT_NAMES,
)
def test_a_service_that_is_called_as_we_are_changes_no_setting(
    service: str, address: str, port: int, protocol: str, port_name: str
) -> None:
    """Every pod of its namespace has the variables, our workers too."""
    links = service_links(
        service, address=address, port=port, protocol=protocol, port_name=port_name
    )
    given_too = {"POSTE_HTTP__PORT": "7077"}

    assert load_settings(None, links) == load_settings(None, {})
    assert load_settings(None, {**links, **given_too}).http.port == 7077


@pytest.mark.parametrize("variable", SETTINGS)
@given(value=st.one_of(st.sampled_from(VALUES), st.text(max_size=20)))
def test_no_setting_is_taken_for_a_service_link(variable: str, value: str) -> None:
    """Whatever its value is; and a setting that is added under such a name is noticed here."""
    assert not is_service_link(variable, value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTE_HTTP_PORT", "6067"),  # meant for POSTE_HTTP__PORT
        ("POSTE_PORT", "6067"),
        ("POSTE_HTTP__PRT_PORT", "tcp://10.0.0.1:6066"),
        ("POSTE_KAFKA__PORT", "tcp://10.0.0.1:6066"),
        ("POSTE_PORT_TCP", "tcp://10.0.0.1:6066"),
        ("POSTE_PORT_6066_TCP_NAME", "tcp"),
        ("POSTE_SERVICE_HOST", "not an address"),
        ("poste_port", "tcp://10.0.0.1:6066"),  # the kubelet writes upper case
        ("POSTE_HTTP__HOTS", "127.0.0.1"),
    ],
)
def test_a_variable_that_only_looks_like_a_service_link_is_refused(
    variable: str, value: str
) -> None:
    """A misspelt setting is no silent default."""
    with pytest.raises(ConfigurationError, match=f"unknown variable {variable}"):
        load_settings(None, {variable: value})
