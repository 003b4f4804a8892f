"""Why a service could not be asked, in words, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

_REMEDY: Final = "name a service with --url or TAMIYO_URL, or start one with `tamiyo serve`"


def told(error: httpx.HTTPError) -> str:
    """The address that was asked, why there is no answer, and the remedy, in one line."""
    return f"{_address(error)} does not answer: {_reason(error)}; {_REMEDY}"


def _address(error: httpx.HTTPError) -> str:
    """Scheme, host and port: what a URL has beside them is not worth a line, or secret."""
    url = error.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _reason(error: httpx.HTTPError) -> str:
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                why = f"its certificate is not trusted ({cause.verify_message})"
                return f"{why}, SSL_CERT_FILE can name the authority that signed it"
            case ssl.SSLError():
                return "what is there speaks no TLS, perhaps it is http:// and not https://"
            case socket.gaierror():
                return f"the name {error.request.url.host} is not known"
            case ConnectionRefusedError():
                return "nothing listens there"
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection came about in time"
    if isinstance(error, httpx.TimeoutException):
        return "the answer did not come in time"
    if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError):
        return _broken(error)
    return _words(error)


def _broken(error: httpx.HTTPError) -> str:
    perhaps = ", perhaps it is https:// and not http://" if error.request.url.scheme == "http" else ""
    return f"the connection broke off ({_words(error)}){perhaps}"


def _words(error: httpx.HTTPError) -> str:
    told_by_system = (cause.strerror for cause in _causes(error) if isinstance(cause, OSError))
    return next(filter(None, told_by_system), None) or str(error).rstrip(".") or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error came of, the last first; it itself is left out."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
