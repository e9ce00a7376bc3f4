"""A cloud that answers without a network: moto in the test's process, or behind a port of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import fsspec
import pytest
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.spec import AbstractFileSystem
from pyarrow.fs import S3FileSystem

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


class Bucket(ArrowFSWrapper):
    """Arrow's client of S3 at moto's server, as ``moto://bucket/…``: s3fs needs an older botocore
    than the newest boto3, and can't be installed beside it.

    Args:
        endpoint: the server's address and port.
    """

    protocol = "moto"
    root_marker = ""

    def __init__(self, endpoint: str, **more: Any) -> None:
        client = S3FileSystem(
            access_key="testing",
            secret_key="testing",
            region="us-east-1",
            scheme="http",
            endpoint_override=endpoint,
        )
        super().__init__(client, **more)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        # the wrapper takes the bucket for a host
        stripped: str = AbstractFileSystem._strip_protocol.__func__(cls, path)
        return stripped


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[str]:
    """The address and port of S3 as moto's server plays it, and :class:`Bucket` for it."""
    from moto.server import ThreadedMotoServer

    fsspec.register_implementation("moto", Bucket, clobber=True)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(bucket_server: str) -> dict[str, Any]:
    """``storage:`` of a project whose tables are in a bucket of its own."""
    name = f"bucket-{uuid.uuid4().hex}"
    with urlopen(Request(f"http://{bucket_server}/{name}", method="PUT")):
        return {"data": f"moto://{name}/data", "data_options": {"endpoint": bucket_server}}
