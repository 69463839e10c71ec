"""IngestService's part that shows, tries and changes how payloads are understood."""

from functools import cache
from importlib.resources import files

import msgspec

from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import control_store, conversion
from services.ingest.committer import Outcome, Result
from services.ingest.mapping import Incoming, Mapped, Mapper, SetAside, compile_platform
from services.ingest.quarantine_servicer import as_it_came, quarantined
from services.ingest.registry import Registry
from shared import audit, db, requests
from shared.audit import Action
from shared.errors import InvalidField, PlatformMappingNotFound, Violation
from shared.interceptors import Context
from shared.names import NAME_RULE, is_name
from shared.platforms import Platform, PlatformMalformed, parse_platform, platforms, with_history

MAX_MAPPINGS = 100


class PlatformServicer:
    """What it needs is set by the servicer that it is a part of."""

    _mapper: Mapper
    _registry: Registry
    _pool: db.Pool

    async def ListPlatforms(self, request: pb.ListPlatformsRequest, context: Context) -> pb.ListPlatformsResponse:
        company_id = requests.company(request.company_id)
        async with db.acquired(self._pool) as connection:
            own = await control_store.list_mappings(connection, company_id)
        replaced = {mapping.name for mapping in own}
        built_in = [_built_in(platform) for platform in platforms().values() if platform.name not in replaced]
        return pb.ListPlatformsResponse(platforms=[*map(_own, own), *built_in])

    async def PutPlatformMapping(
        self, request: pb.PutPlatformMappingRequest, context: Context
    ) -> pb.PutPlatformMappingResponse:
        company_id = requests.company(request.company_id)
        if not request.mapping:
            raise InvalidField(Violation("mapping", "is required"))
        platform = _parsed(request.mapping)
        async with db.acquired(self._pool) as connection, connection.transaction():
            put = await control_store.put_mapping(connection, company_id, platform.name, request.mapping, MAX_MAPPINGS)
            if put is None:
                message = f"the company has {MAX_MAPPINGS} others; at most so many are kept"
                raise InvalidField(Violation("mapping", message))
            await audit.record(connection, company_id, Action.PLATFORM_MAPPING_PUT, platform.name)
        self._registry.forget(company_id)
        return pb.PutPlatformMappingResponse(platform=_own(put))

    async def DeletePlatformMapping(
        self, request: pb.DeletePlatformMappingRequest, context: Context
    ) -> pb.DeletePlatformMappingResponse:
        company_id = requests.company(request.company_id)
        if not is_name(request.name):
            raise InvalidField(Violation("name", NAME_RULE if request.name else "is required"))
        async with db.acquired(self._pool) as connection, connection.transaction():
            if not await control_store.delete_mapping(connection, company_id, request.name):
                raise PlatformMappingNotFound(request.name)
            await audit.record(connection, company_id, Action.PLATFORM_MAPPING_DELETED, request.name)
        self._registry.forget(company_id)
        return pb.DeletePlatformMappingResponse()

    async def PreviewMapping(self, request: pb.PreviewMappingRequest, context: Context) -> pb.PreviewMappingResponse:
        company_id = requests.company(request.company_id)
        trial = _parsed(request.mapping) if request.mapping else None
        incoming = await self._subject(company_id, request)
        rules = await self._registry.fresh_rules(company_id)
        if trial is not None:
            # As if it had been put: in its place among the company's own.
            own = {**rules.platforms, trial.name: compile_platform(trial)}
            rules = msgspec.structs.replace(rules, platforms=dict(sorted(own.items())))
        made = self._mapper.map(incoming, rules)
        if isinstance(made, Mapped):
            return pb.PreviewMappingResponse(
                result=conversion.from_result(Result(Outcome.ACCEPTED)),
                event=conversion.from_mapped(company_id, made),
            )
        outcome = Outcome.QUARANTINED if isinstance(made, SetAside) else Outcome.REJECTED
        result = Result(outcome, reason=made.reason, message=made.message)
        return pb.PreviewMappingResponse(result=conversion.from_result(result))

    async def _subject(self, company_id: str, request: pb.PreviewMappingRequest) -> Incoming:
        match request.WhichOneof("subject"):
            case "event":
                return conversion.to_incoming(request.event)
            case "quarantine_id":
                quarantine_id = requests.uuid_of(request.quarantine_id, "quarantine_id")
                lies = await quarantined(self._pool, company_id, quarantine_id)
                # What a mapping makes of it can be seen, whoever has sent it.
                return msgspec.structs.replace(as_it_came(lies), trusted=True)
            case _:
                raise InvalidField(Violation("subject", "is required: an event, or the id of one in quarantine"))


def _parsed(mapping: str) -> Platform:
    try:
        return parse_platform(mapping.encode(), "mapping", own=True)
    except PlatformMalformed as error:
        raise InvalidField(Violation("mapping", error.reason)) from None


def _own(mapping: control_store.Mapping) -> pb.Platform:
    try:
        message = _platform(parse_platform(mapping.mapping.encode(), "mapping", own=True), mapping.mapping)
    except PlatformMalformed:
        # Taken by an older Hookline: shown, so that it can be mended.
        message = pb.Platform(name=mapping.name, mapping=mapping.mapping)
    message.is_own = True
    message.update_time.FromDatetime(mapping.update_time)
    return message


def _built_in(platform: Platform) -> pb.Platform:
    return _platform(platform, _text(platform.name))


def _platform(platform: Platform, mapping: str) -> pb.Platform:
    return pb.Platform(
        name=platform.name,
        title=platform.title,
        mapping=mapping,
        is_recognised=platform.recognise is not None or platform.fallback,
        signature=platform.scheme,
        has_history=with_history(platform).history is not None,
    )


@cache
def _text(name: str) -> str:
    return files("shared.platforms").joinpath(f"{name}.toml").read_text(encoding="utf-8")
