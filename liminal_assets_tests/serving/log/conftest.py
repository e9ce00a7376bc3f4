"""A bucket to log into."""

from liminal_assets_tests.aws import bucket, bucket_server

__all__ = ["bucket", "bucket_server"]
