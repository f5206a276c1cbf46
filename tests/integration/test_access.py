"""The broker with an authorizer, as the suite has it."""

import pytest

from tests.integration.conftest import SecuredDeployment


async def test_the_authorizer_refuses_what_no_acl_allows(
    secured_deployment: SecuredDeployment,
) -> None:
    """Else the tests that take a permission away would show nothing."""
    deployment = secured_deployment
    deployment.init()
    refused = deployment.poste("progress", check=False, **deployment.as_user)
    deployment.allow(["Read", "Describe", "DescribeConfigs"], "--topic", deployment.topic)
    deployment.allow(["Read", "Describe"], "--group", deployment.group)
    allowed = deployment.poste("progress", check=False, **deployment.as_user)

    assert refused.returncode == 1, refused
    assert allowed.returncode == 0, allowed.stderr


@pytest.mark.parametrize("change", ["--add", "--remove"])
def test_an_acl_is_changed_by_kafkas_own_tool(change: str) -> None:
    """Each operation is named; a removal asks nobody."""
    from local.access import change_acl

    said: list[str] = []
    change_acl(lambda *a: said.extend(a), change, "poste", ["Read"], "--group", "g")

    assert said[1] == change
    assert ("--force" in said) == (change == "--remove")
    assert said[-4:] == ["--operation", "Read", "--group", "g"]
