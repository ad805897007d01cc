"""Where an Elasticsearch cluster is and how it lets us in: the keys of a task file, and the client's options they mean."""

import os
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.errors import TaskError
from dgt_rag.plugins import InputFile, Settings
from dgt_rag.retry import RetryPolicy

Json = dict[str, Any]


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Cluster(Settings):
    """Where a cluster is and how it lets us in."""

    hosts: Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...])] = Field(
        default=(), examples=["https://localhost:9200"]
    )
    """Addresses with scheme and port, `https://search.example.org:9200`; one or a list."""
    cloud_id: str | None = None
    """The id of an Elastic Cloud deployment, instead of hosts."""
    api_key: SecretStr | None = None
    """An API key, as `${NAME}` from the environment."""
    api_key_env: str | None = None
    """The environment variable that holds the API key."""
    username: str | None = None
    """Who we are, with `password_env`."""
    password: SecretStr | None = None
    """The password, as `${NAME}` from the environment."""
    password_env: str | None = None
    """The environment variable that holds the password."""
    ca_certs: InputFile | None = None
    """A file with the certificate of the authority that signed the servers' own (PEM)."""
    ca_fingerprint: str | None = None
    """Its SHA-256 fingerprint in hex, instead of the file."""
    verify_certs: bool = True
    """Whether certificates are checked."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds after which a request that has not answered counts as failed."""
    retry: RetryPolicy = RetryPolicy()
    """How often and how long to wait before a busy cluster is asked again."""

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            address = urlsplit(host)
            if address.username or address.password:
                raise PydanticCustomError(
                    "host_login", "a host must not hold a user or password; use `username` and `password_env`"
                )
            if address.scheme not in {"http", "https"} or not address.hostname:
                raise PydanticCustomError("host", "{host!r} is no address; write `https://name:9200`", {"host": host})
        return hosts

    @model_validator(mode="after")
    def _check_one_way(self) -> "Cluster":
        logins = [name for name in ("api_key", "api_key_env", "username") if getattr(self, name) is not None]
        if len(logins) > 1:
            raise PydanticCustomError(
                "two_logins", "`{a}` and `{b}` are both given; keep one", dict(zip("ab", logins[:2], strict=True))
            )
        if bool(self.hosts) == bool(self.cloud_id):
            raise PydanticCustomError("hosts", "give `hosts` or `cloud_id`, and only one of them")
        if self.username and not (self.password or self.password_env):
            raise PydanticCustomError("no_password", "`username` needs `password_env`")
        return self

    @property
    def place(self) -> str:
        """The cluster's name in notices and errors."""
        return f"elasticsearch {', '.join(self.hosts) or (self.cloud_id or '').partition(':')[0]}"

    def login(self) -> Json:
        """Return the client's options for letting us in."""
        key = _secret(self.api_key, self.api_key_env)
        if key:
            return {"api_key": key}
        if self.username:
            return {"basic_auth": (self.username, _secret(self.password, self.password_env))}
        return {}

    def options(self) -> Json:
        """Return all options of the client."""
        options: Json = {"cloud_id": self.cloud_id} if self.cloud_id else {"hosts": [*map(_with_port, self.hosts)]}
        if self.ca_certs:
            options["ca_certs"] = str(self.ca_certs)
        if self.ca_fingerprint:
            options["ssl_assert_fingerprint"] = self.ca_fingerprint
        if not self.verify_certs:
            options |= {"verify_certs": False, "ssl_show_warn": False}
        return {**options, **self.login(), "request_timeout": self.timeout, "max_retries": 0, "retry_on_timeout": False}


def _secret(value: SecretStr | None, variable: str | None) -> str:
    if variable is None:
        return value.get_secret_value() if value else ""
    found = os.environ.get(variable)
    if not found:
        raise TaskError(f"search/elasticsearch: the environment variable {variable} is not set")
    return found


def _with_port(host: str) -> str:
    address = urlsplit(host)
    port = address.port or (443 if address.scheme == "https" else 9200)
    return address._replace(netloc=f"{address.netloc.removesuffix(f':{address.port}')}:{port}").geturl()
