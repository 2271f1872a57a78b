"""Failures of the Hub and of the way there, as errors that say what to do."""

from __future__ import annotations

import errno

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from viper_gym.errors import CheckpointError, HubUnavailable

# The client's HTTP library was requests before 1.0, then httpx, now httpx2; the Hub's own error
# derives from whichever it is, and so do the errors of the connection.
HUB_FAILURES: tuple[type[BaseException], ...] = (
    *HfHubHTTPError.__bases__,
    OSError,
    ValueError,
    RuntimeError,  # how the client reports an upload that broke off
)
_LOG_IN = "log in with `hf auth login`, set HF_TOKEN or pass token="


def explain(error: BaseException, doing: str, otherwise: str = "") -> CheckpointError:
    """The error for people: what was being done, why it failed, what to do now.

    Args:
        otherwise: what else can be done where the Hub cannot be reached.
    """
    cause = error
    while getattr(cause, "response", None) is None and cause.__cause__ is not None:
        cause = cause.__cause__  # the client wraps the Hub's answer
    kind: type[CheckpointError] = CheckpointError
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        kind, why = _of_answer(cause)
    elif isinstance(cause, OSError) and (cause.filename or cause.errno == errno.ENOSPC):
        why = f"{cause}. Make room, or choose another cache_dir (HF_HUB_CACHE)"
    elif isinstance(cause, PermissionError):  # of the storage behind the Hub
        why = f"no permission ({cause}). {_LOG_IN}"
    elif isinstance(cause, (LocalTokenNotFoundError, HFValidationError)) or (
        type(cause) is ValueError  # of the caller; a subclass may be an answer that is no JSON
    ):
        why = str(cause)
    else:
        kind, why = HubUnavailable, f"no connection, or it broke off ({cause!r}). Try again later"
    return kind(f"{doing}: {why}{otherwise if kind is HubUnavailable else ''}")


def _of_answer(error: HfHubHTTPError) -> tuple[type[CheckpointError], str]:
    status = error.response.status_code
    said = getattr(error, "server_message", None) or f"status {status}"
    if isinstance(error, GatedRepoError):
        why = f"access is gated. Ask for it on the repository's page, then {_LOG_IN}"
    elif isinstance(error, RepositoryNotFoundError):
        why = f"there is no such repository, or it is private. Check the name, or {_LOG_IN}"
    elif isinstance(error, RevisionNotFoundError):
        why = "there is no such revision. Check the branch, tag or commit"
    elif isinstance(error, EntryNotFoundError):
        why = "a file is missing there. Check the name and the revision"
    elif status in (401, 403):
        why = f"no permission ({said}). Check that the token is allowed to do this, or {_LOG_IN}"
    elif status in (408, 429) or status >= 500:
        return HubUnavailable, f"the Hub is not serving now ({said}). Try again later"
    else:
        why = f"the Hub refused: {said}"
    return CheckpointError, why
