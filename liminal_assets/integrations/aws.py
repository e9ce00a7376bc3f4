"""Amazon Web Services through boto3, which is imported when a step needs it (extra ``aws``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from liminal_assets.errors import StepError
from liminal_assets.language.diagnostics import Location, did_you_mean

__all__ = ["DEFAULT_CONNECTION", "aws_client", "aws_errors", "error_code"]

DEFAULT_CONNECTION = "aws_default"
"""What Airflow called the connection with the credentials of the machine."""

_TRANSIENT = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttling",
        "ThrottlingException",
    }
)
_NO_ACCESS = frozenset(
    {"AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException"}
)


def aws_client(
    service: str,
    *,
    connection: str | None = None,
    region: str | None = None,
    keys: tuple[str, str] | None = None,
    location: Location | None = None,
) -> Any:
    """A boto3 client of a service.

    Args:
        service: boto3's name of it: ``cloudformation``.
        connection: a profile of ``~/.aws``, by the name that an ``aws_conn_id`` has. Without one,
            and for ``aws_default`` where no profile is called so, boto3 finds the credentials:
            environment variables, the default profile, the role of the machine.
        keys: an access key and its secret, in place of what boto3 finds.
        region: default: boto3's (``AWS_DEFAULT_REGION``, or that of the profile).
        location: what an error points to.

    Raises:
        StepError: boto3 isn't installed, there is no such profile, or no region.
    """
    try:
        import boto3
    except ImportError:
        raise StepError(
            "boto3 isn't installed", location=location, hint="pip install 'liminal-assets[aws]'"
        ) from None
    with aws_errors(f"reach {service}", location):
        session = boto3.Session()
        profiles = session.available_profiles
        if connection in profiles:
            session = boto3.Session(profile_name=connection)
        elif connection not in (None, DEFAULT_CONNECTION):
            raise StepError(
                f"no AWS profile is called {connection!r}",
                location=location,
                hint=did_you_mean(str(connection), profiles)
                or f"write [profile {connection}] into ~/.aws/config",
            )
        key, secret = keys or (None, None)
        return session.client(
            service, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret
        )


@contextmanager
def aws_errors(doing: str, location: Location | None = None) -> Iterator[None]:
    """What boto3 raises, as one :class:`StepError`.

    Args:
        doing: what failed then: ``"create the stack x"``.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
    )

    try:
        yield
    except ClientError as error:
        code, said = error_code(error), error.response.get("Error", {}).get("Message") or error
        hint = "check the credentials and what they allow" if code in _NO_ACCESS else None
        message = f"cannot {doing}: {said}"
        transient = code in _TRANSIENT
        raise StepError(message, location=location, hint=hint, transient=transient) from error
    except NoCredentialsError as error:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws configure'"
        message = f"cannot {doing}: there are no AWS credentials"
        raise StepError(message, location=location, hint=hint) from error
    except NoRegionError as error:
        message, hint = f"cannot {doing}: there is no AWS region", "set AWS_DEFAULT_REGION"
        raise StepError(message, location=location, hint=hint) from error
    except BotoCoreError as error:
        message = f"cannot {doing}: {' '.join(str(error).split())}"
        # the connection is what usually breaks below boto3's own errors
        transient = "connect" in type(error).__name__.lower()
        raise StepError(message, location=location, transient=transient) from error


def error_code(error: Any) -> str:
    """The code of a botocore ``ClientError``: ``ValidationError``."""
    return str(error.response.get("Error", {}).get("Code", ""))
