"""Where an Elasticsearch cluster is and how it lets us in: the keys of a task file, and the client's options they mean."""

import os
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.errors import TaskError
from dgt_rag.plugins import InputFile, Settings
from dgt_rag.retry import RetryPolicy

Json = dict[str, Any]

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _addresses(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        # said without the host, as are all errors of this key: it holds a password
        if "@" in host:
            raise PydanticCustomError(
                "host_login", "a host must not hold a user or password; use `username` and `password_env`"
            )
        try:
            address = urlsplit(host)
            right = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
        except ValueError:
            raise PydanticCustomError("host", "a host is no address; write `https://name:9200`") from None
        if not right:
            raise PydanticCustomError("host", "{host} is no address; write `https://name:9200`", {"host": repr(host)})
    return hosts


# the check stands inside of what makes the list, so that no error shows the text as it was written
_Hosts = Annotated[
    tuple[str, ...],
    AfterValidator(_addresses),
    BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
]


class Cluster(Settings):
    """Where a cluster is and how it lets us in."""

    model_config = ConfigDict(hide_input_in_errors=True)

    hosts: _Hosts = Field(default=(), examples=["https://localhost:9200"])
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
    """The SHA-256 fingerprint of that certificate in hex, as Elasticsearch prints it at its first start, instead of the file; a
    server's own will do too. The server must show the certificate, as it does when Elasticsearch has set itself up."""
    verify_certs: bool = True
    """Whether certificates are checked."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds after which a request that has not answered counts as failed."""
    retry: RetryPolicy = RetryPolicy()
    """How often and how long to wait before a busy cluster is asked again."""

    @field_validator("ca_fingerprint")
    @classmethod
    def _check_fingerprint(cls, fingerprint: str | None) -> str | None:
        if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
            raise PydanticCustomError(
                "fingerprint", "this is no SHA-256 fingerprint: 64 hex digits are needed, with or without colons"
            )
        return fingerprint

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
        if self.ca_fingerprint:
            self._check_pinned()
        return self

    def _check_pinned(self) -> None:
        if self.ca_certs or not self.verify_certs:
            other = "ca_certs" if self.ca_certs else "verify_certs: false"
            raise PydanticCustomError(
                "two_trusts", "`ca_fingerprint` and `{other}` are both given; keep one", {"other": other}
            )
        if not all(host.startswith("https://") for host in self.hosts) or self.cloud_id:
            raise PydanticCustomError("no_tls", "`ca_fingerprint` is for `hosts` with https://")

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

    def addresses(self) -> list[str]:
        """Return the hosts, each with its port."""
        return [*map(_with_port, self.hosts)]

    def options(self) -> Json:
        """Return all options of the client but the trust in a fingerprint."""
        options: Json = {"cloud_id": self.cloud_id} if self.cloud_id else {"hosts": self.addresses()}
        if self.ca_certs:
            options["ca_certs"] = str(self.ca_certs)
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
