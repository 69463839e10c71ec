"""Messages for every method of the service: odd ones, spoilt ones, and bytes that are none."""

import base64
import random
import uuid
from importlib.resources import files
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hookline.ingest.v1 import endpoint_service_pb2, ingest_service_pb2
from shared.platforms import platforms
from tests.fuzz import spoiling
from tests.fuzz.books import Books
from tests.fuzz.cases import case
from tests.ingest_process import IngestProcess

# What they change, such as mappings and secrets, must not change what becomes of the cases.
COMPANY = "fuzz-frames"
# What a caller may be told who sends nonsense.
_SENSIBLE = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
_NUMBERS = (0, 1, -1, 2, 500, 501, 10_001, 2**31 - 1, -(2**31))


async def send(ingest: IngestProcess, count: int, rng: random.Random, books: Books) -> None:
    """Sends so many."""
    methods = [
        (f"/{service.full_name}/{method.name}", GetMessageClass(method.input_type))
        for file in (ingest_service_pb2.DESCRIPTOR, endpoint_service_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    for _ in range(count):
        name, kind = rng.choice(methods)
        frame = _frame(kind, rng)
        code = "OK"
        try:
            await _call(ingest, name, frame)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            is_ours = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            if error.code() not in _SENSIBLE or not is_ours:
                books.problem(f"{name} with {frame[:500]!r}", f"{error.code()}: {error.details()}")
        books.statuses[f"gRPC {code}"] += 1


async def _call(ingest: IngestProcess, name: str, frame: bytes) -> None:
    if name.endswith("Stream"):
        async for _ in ingest.raw("stream_stream", name)(iter([frame]), timeout=60):
            pass
    else:
        await ingest.raw("unary_unary", name)(frame, timeout=60)


def _frame(kind: type[Message], rng: random.Random) -> bytes:
    draw = rng.random()
    if draw < 0.1:
        return rng.randbytes(rng.choice((1, 2, 10, 1000)))
    frame = _filled(kind(), rng).SerializeToString()
    return frame if draw < 0.7 else spoiling.text(frame, rng.randbytes(20), rng)


def _filled(message: Message, rng: random.Random) -> Message:
    """With most of its fields set: to what fits, or to what does not."""
    for one in message.DESCRIPTOR.fields:
        if rng.random() < 0.25 and one.name != "company_id":
            continue
        if one.message_type is None:
            if one.is_repeated:
                getattr(message, one.name).extend(_value(one, rng) for _ in range(rng.choice((1, 1, 2, 501))))
            else:
                setattr(message, one.name, _value(one, rng))
        elif one.message_type.GetOptions().map_entry:
            getattr(message, one.name).update({_text(one.name, rng): _text(one.name, rng)})
        elif one.is_repeated:
            for _ in range(rng.choice((1, 2, 50))):
                _filled(getattr(message, one.name).add(), rng)
        else:
            inside = getattr(message, one.name)
            inside.SetInParent()
            _filled(inside, rng)
    return message


def _value(one: Any, rng: random.Random) -> Any:
    if one.enum_type is not None:
        return rng.choice((*one.enum_type.values_by_number, 99, -1))
    match one.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice(_NUMBERS)
        case FieldDescriptor.CPPTYPE_INT64:
            return rng.choice((*_NUMBERS, 2**63 - 1, -(2**63), 315_576_000_001))
    if one.type == FieldDescriptor.TYPE_BYTES:
        return case("frames", rng.randrange(10**6)).body
    return _text(one.name, rng)


def _text(name: str, rng: random.Random) -> str:
    if rng.random() < 0.1:
        return rng.choice([text for text in spoiling.TEXTS if text.isascii() or text.isprintable()])
    match name:
        case "company_id":
            return COMPANY
        case "platform" | "name":
            return rng.choice(list(platforms()))
        case "source" | "secret" | "reason":
            return rng.choice(("loja", "shop", "x" * 64))
        case "mapping":
            return _mapping(rng)
        case "page_token":
            return base64.urlsafe_b64encode(rng.randbytes(rng.randrange(60))).decode()
    return str(uuid.UUID(int=rng.getrandbits(128), version=rng.choice((4, 4, 4, 1))))


def _mapping(rng: random.Random) -> str:
    """A platform's file, sometimes with a name of its own, and mostly spoilt."""
    toml = files("shared.platforms").joinpath(f"{rng.choice(list(platforms()))}.toml").read_bytes()
    if rng.random() < 0.3:
        return toml.decode()
    lines = toml.split(b"\n")
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                del lines[at : at + 1]
            case 1:
                lines.insert(at, rng.choice(lines))
            case 2:
                lines[at] = spoiling.text(lines[at], rng.choice(lines), rng)
            case 3:
                key = lines[at].partition(b"=")[0]
                lines[at] = key + b"= " + rng.choice(_TOML_VALUES)
            case _:
                lines[at] = lines[at].replace(b'"', b'"' + rng.choice(_REFERENCES), 1)
        lines = lines or [b""]
    return b"\n".join(lines).decode(errors="replace")


_TOML_VALUES = (
    b"1", b"-1", b"0", b"true", b'""', b'"x"', b"[]", b"[[]]", b'["x"]', b'[["x"]]', b'[["x?"]]', b"{}", b"1e999",
    b"nan", b"2026-01-01", b'"' + b"x" * 70_000 + b'"', b"[" * 300 + b"]" * 300, b'"a[].b[].c[].d[]"',
    b'["a[].b[].c[].d[]"]',
    b'["header:x"]', b'["query:x"]', b'["body:x"]', b'["a..b"]', b'["a[!b]"]', b'["[]"]', b'["a[]"]', b'["99999999"]',
    b'["0"]', b'["a 0 b"]', b'["' + b"a." * 240 + b'a"]', b"[" + b'"x", ' * 250 + b"]", b'"\\u0000"', b'["a\\u0000"]',
    b'"major"',
)  # fmt: skip
_REFERENCES = (
    b"header:",
    b"query:",
    b"[]",
    b"[!x]",
    b".",
    b"..",
    b" ",
    b"0.",
    b"999999.",
    b"\\u0000",
    b"\\n",
    b"x[].",
    b"?",
    b"!",
)
