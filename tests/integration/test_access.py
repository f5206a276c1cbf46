"""The broker with an authorizer, as the suite has it."""

from tests.integration.conftest import SecuredDeployment


async def test_the_authorizer_refuses_what_no_acl_allows(
    secured_deployment: SecuredDeployment,
) -> None:
    """Else the tests that take a permission away would show nothing."""
    deployment = secured_deployment
    deployment.init()
    refused = deployment.poste("progress", check=False, **deployment.as_user)
    deployment.allow(["READ", "DESCRIBE", "DESCRIBE_CONFIGS"], "TOPIC", deployment.topic)
    deployment.allow(["READ", "DESCRIBE"], "GROUP", deployment.group)
    allowed = deployment.poste("progress", check=False, **deployment.as_user)

    assert refused.returncode == 1, refused
    assert allowed.returncode == 0, allowed.stderr
