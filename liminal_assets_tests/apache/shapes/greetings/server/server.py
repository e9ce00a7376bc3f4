"""The endpoint of the service."""


def greet(body: bytes) -> str:
    return f"Good day, {body.decode() or 'stranger'}!"
