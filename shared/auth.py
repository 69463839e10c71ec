"""Who calls, and what a caller may do: scopes, the rule of every RPC, and the caller of the call under way.

A token reads `hk_<company>.<43 random characters>`: it names its company, so that looking it up does so too. Of a token
only the SHA-256 is kept.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import msgspec

from shared.errors import WrongCompany
from shared.names import is_name

HINT_CHARACTERS = 4
_PREFIX = "hk_"
_is_random_part = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch


class Scope(StrEnum):
    """What a token is for."""

    INGEST = "ingest"
    SYNC = "sync"
    EXPORT = "export"
    ADMIN = "admin"


class Rule(StrEnum):
    """What an RPC asks of a caller beside a scope."""

    NOTHING = "nothing"
    """Whoever reaches the port: it tells nothing of any company."""
    ANY_TOKEN = "any token"  # noqa: S105 - a rule's name
    """A token, whatever it is for; its requests name no company."""


# Every RPC of every service. One that is missing here is not served at all.
_RULES: Mapping[str, Mapping[Scope | Rule, str]] = {
    "grpc.health.v1.Health": {Rule.NOTHING: "Check List Watch"},
    "grpc.reflection.v1alpha.ServerReflection": {Rule.ANY_TOKEN: "ServerReflectionInfo"},
    "hookline.ingest.v1.IngestService": {
        Scope.INGEST: "IngestEvent IngestEvents IngestEventStream MarkEvents ListQuarantinedEvents GetQuarantinedEvent "
        "RetryQuarantinedEvents DiscardQuarantinedEvents ListEventConflicts ListPlatforms PreviewMapping",
        Scope.ADMIN: "PutPlatformMapping DeletePlatformMapping",
    },
    "hookline.ingest.v1.EndpointService": {
        Scope.ADMIN: "CreateEndpoint ListEndpoints RotateEndpoint RevokeEndpoint PutSigningSecret ListSigningSecrets "
        "DeleteSigningSecret",
    },
    "hookline.ingest.v1.PrivacyService": {Scope.ADMIN: "EraseSubject"},
    "hookline.export.v1.ExportService": {Scope.EXPORT: "ExportEvents"},
    "hookline.export.v1.EventQueryService": {Scope.EXPORT: "GetEvent ListEvents SummarizeEvents WatchEvents"},
    "hookline.export.v1.AuditService": {Scope.ADMIN: "ListAuditEntries"},
    "hookline.sync.v1.SyncService": {
        Scope.SYNC: "CreateSource UpdateSource GetSource ListSources DeleteSource CheckSource StartSchedule "
        "PauseSchedule ResumeSchedule StopSchedule TriggerSync GetSyncStatus GetSyncRun ListSyncRuns CancelSyncRun "
        "WatchSyncRun ListSyncRunLog ListSyncDifferences",
    },
    "hookline.sync.v1.AlertService": {
        Scope.SYNC: "ListAlerts CreateAlertChannel ListAlertChannels DeleteAlertChannel TestAlert",
    },
}
RULES: Mapping[str, Scope | Rule] = {
    f"{service}/{method}": rule
    for service, rules in _RULES.items()
    for rule, methods in rules.items()
    for method in methods.split()
}


class Caller(msgspec.Struct, frozen=True):
    """Who calls. `company_id` is the only company that it may name; empty: it may name any."""

    company_id: str
    scopes: frozenset[Scope]
    actor: str
    """Who that is, in the audit trail."""
    token_id: str = ""
    token_sha256: bytes = b""


ANONYMOUS = Caller("", frozenset(Scope), "anonymous")
"""Whoever calls where no tokens are asked for."""
OPERATOR = Caller("", frozenset(Scope), "operator")
"""Who has a shell on the server."""

CALLER: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
"""Who this task works for."""


def check_company(caller: Caller, request: Any) -> None:
    """Puts the caller's company into a request that names none. Raises WrongCompany when it names another."""
    if caller.company_id and request.company_id != caller.company_id:
        if request.company_id:
            raise WrongCompany
        request.company_id = caller.company_id


def new_token(company_id: str) -> str:
    """A token of a company."""
    return f"{_PREFIX}{company_id}.{secrets.token_urlsafe(32)}"


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def token_company(token: str) -> str | None:
    """The company that a token names, whether or not the token is good; None when it is no token at all."""
    company_id, _, random_part = token.removeprefix(_PREFIX).rpartition(".")
    if token.startswith(_PREFIX) and is_name(company_id) and _is_random_part(random_part):
        return company_id
    return None
