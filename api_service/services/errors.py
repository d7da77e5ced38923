"""What can go wrong at the other end of an outgoing call.

Callers decide by attribute: `permanent` (asking again cannot help), `retry_after` (seconds the other side asked for),
`of_service` (the service itself is in trouble, whatever was asked for), `code` (stable, for metrics and alerts).
`next_step` is marked for translation; who shows it passes it to gettext.
"""

from collections.abc import Mapping
from types import MappingProxyType

from api_service.services.redaction import redact


def gettext_noop(text: str) -> str:
    """Marks a text for `makemessages`. Django's own reads the settings, which are not there yet or not at all."""
    return text


class UpstreamError(Exception):
    """Root of all failures of a remote service. None of them says anything about the thing that was asked for."""

    code = "upstream_error"
    permanent = False
    of_service = False
    next_step = gettext_noop("Try again later; if it lasts, look at the status page of the service.")

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        permanent: bool | None = None,
        of_service: bool | None = None,
    ) -> None:
        super().__init__(redact(message))
        self.status = status
        self.retry_after = retry_after
        if permanent is not None:
            self.permanent = permanent
        if of_service is not None:
            self.of_service = of_service

    @property
    def message(self) -> str:
        return str(self.args[0])

    def facts(self) -> Mapping[str, str | float | bool | None]:
        """The error as plain JSON values, for results, rows and log lines."""
        return MappingProxyType(
            {
                "code": self.code,
                "message": self.message,
                "permanent": self.permanent,
                "retry_after": self.retry_after,
                "status": self.status,
                "next_step": self.next_step,
            }
        )


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"
    of_service = True
    next_step = gettext_noop("Try again later; if it lasts, raise the time limits or ask the service what is slow.")


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"
    of_service = True
    next_step = gettext_noop("Check the network, the DNS, the proxy and the address of the service.")


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"
    of_service = True
    next_step = gettext_noop("Wait as long as the service asked for, and lower the number of calls a minute.")


class UpstreamServerError(UpstreamError):
    code = "upstream_server_error"
    of_service = True


class UpstreamBadAnswer(UpstreamError):
    """The answer cannot be read: broken JSON, an HTML page, somebody else's record."""

    code = "upstream_bad_answer"
    next_step = gettext_noop("Check the address and version of the service; if both are right, tell its support.")


class UpstreamAuthRefused(UpstreamError):
    code = "upstream_auth_refused"
    permanent = True
    next_step = gettext_noop("Look-ups are down: check the token, and that the plan has queries left.")


class UpstreamMalformed(UpstreamError):
    """The service says that our request is wrong (422), for a reason other than the number asked for."""

    code = "upstream_malformed"
    permanent = True
    next_step = gettext_noop("The request does not fit the service's contract: report it as a defect of this client.")


class UpstreamRefused(UpstreamError):
    """A refusal in words (`success: false`) or another 4xx: not an answer about what was asked."""

    code = "upstream_refused"
    permanent = True
    next_step = gettext_noop("Read the service's message; often the plan, the address or the account is the cause.")


class UpstreamNotOffered(UpstreamError):
    code = "upstream_not_offered"
    permanent = True
    next_step = gettext_noop("This version of the service has no such query: set MIGO_API_VERSION to v1.")


class UpstreamNotAsked(UpstreamError):
    """The caller's own limit forbade the call after others of the same batch had been answered. See `__cause__`."""

    code = "upstream_not_asked"
    next_step = gettext_noop("Wait until the query budget allows more calls, or raise it.")


class UpstreamCircuitOpen(UpstreamError):
    """The service has failed too often, or asked for a pause: it is left alone until `retry_after`, nothing is paid."""

    code = "upstream_circuit_open"
    next_step = gettext_noop(
        "Wait until the service is tried again; if it lasts, look at the status page of the service."
    )
