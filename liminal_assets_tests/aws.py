"""A cloud that answers without a network: moto in the test's process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

_PROFILE = """
[profile team]
region = eu-west-1
aws_access_key_id = testing
aws_secret_access_key = testing
"""


@pytest.fixture
def aws(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Amazon's services as moto plays them, empty; credentials and a region in the environment."""
    from moto import mock_aws

    home = tmp_path_factory.mktemp("aws")
    (home / "config").write_text(_PROFILE, encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield
