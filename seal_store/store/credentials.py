"""What the environment and the files of AWS say about access to S3.

obstore reads the environment itself; here are the files that it does not read, and what follows
from an endpoint.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path

from seal_store.errors import RemoteError

OWN = (
    *("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)
"""Variables by which obstore finds credentials, or needs none."""


def aws_settings(environment: Mapping[str, str], home: Path) -> dict[str, str | bool]:
    """What a client of S3 is to be given beside the environment, which comes before files.

    ``plain`` is there, and true, if the endpoint is one without TLS. The files are
    ``~/.aws/credentials`` and ``~/.aws/config``, or those that the usual variables name, and of
    them the profile ``AWS_PROFILE``. Raises :class:`RemoteError` for one that gives no keys but
    another way to get some, or that is not there.
    """
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    keys = _section(environment, "AWS_SHARED_CREDENTIALS_FILE", home / ".aws/credentials")
    config = _section(environment, "AWS_CONFIG_FILE", home / ".aws/config")
    name = profile or "default"
    secret = keys.get(name, {})
    general = config.get(name if name == "default" else f"profile {name}", {})
    if profile and not (secret or general):
        raise RemoteError(f"AWS_PROFILE {profile}: no such profile", "check ~/.aws/config")
    found: dict[str, str | bool] = {}
    if not any(environment.get(variable) for variable in OWN):
        both = {**general, **secret}
        for key, theirs in _KEYS.items():
            if key in both:
                found[theirs] = both[key]
        if profile and "access_key_id" not in found:
            raise RemoteError(
                f"AWS_PROFILE {profile}: has no access key of its own",
                "run `aws configure export-credentials --format env` and set what it prints",
            )
    if not (environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")):
        found |= {"region": general["region"]} if "region" in general else {}
    endpoints = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next((environment[e] for e in endpoints if environment.get(e)), "")
    if not endpoint and "endpoint_url" in general:
        endpoint = found["endpoint"] = general["endpoint_url"]
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise RemoteError(
            "the endpoint of S3 (AWS_ENDPOINT_URL) does not begin with http:// or https://",
            "write it as http://HOST:PORT",
        )
    if endpoint.startswith("http://"):
        found["plain"] = True
    return found


_KEYS = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
}


def _section(
    environment: Mapping[str, str], variable: str, usual: Path
) -> dict[str, dict[str, str]]:
    """Sections of a file of AWS; none if it is not there."""
    parser = configparser.RawConfigParser()
    path = Path(environment.get(variable) or usual).expanduser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        raise RemoteError(f"{path}: cannot be read as a file of AWS", "check it") from None
    return {name: dict(parser[name]) for name in parser.sections()}
