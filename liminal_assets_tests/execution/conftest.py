from __future__ import annotations

from liminal_assets_tests.aws import aws

__all__ = ["aws"]
