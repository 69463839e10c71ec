"""A made-up platform, whose mapping is a company's own: what its payloads look like, and how they are understood."""

import json
from typing import TYPE_CHECKING, Any

from hookline.ingest.v1 import ingest_service_pb2 as pb

if TYPE_CHECKING:
    from tests.in_process import Ingesting

RECOGNISE = '[recognise]\npresent = ["evento", "codigo"]\n'
TOKEN_IN_BODY = '[signature]\nscheme = "token"\nin = "token"\n'
HMAC = '[signature]\nscheme = "hmac"\nin = "header:x-padoca-signature"\nalgorithm = "sha256"\nencoding = "hex"\n'


def padoca(code: str | int = 1, **members: Any) -> bytes:
    """A payload in Padoca's form; `members` replace its own, None removes one."""
    content = {
        "evento": "venda_aprovada",
        "codigo": str(code),
        "valor": "10.50",
        "cliente": "Rui Prates",
        "produto": "Pão de queijo",
        "quando": "2026-10-01T09:30:00",
        **members,
    }
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def mapping(name: str = "padoca", *tables: str, total: str = "valor", secrets: str = "") -> str:
    """How they are understood, as TOML; `tables` come at the end."""
    head = f'name = "{name}"\ntitle = "Padoca"\ncurrency = "BRL"\ntime_zone = "America/Sao_Paulo"\n{secrets}\n'
    fields = f"""
[fields]
type = ["evento"]
dedup_key = [["codigo"]]
customer_name = ["cliente"]
product_name = ["produto", "header:x-padoca-product"]
total = ["{total}"]
occurred_time = ["quando"]

[types]
venda_aprovada = "order_approved"

"""
    return head + fields + "\n".join(tables)


async def put(ingest: "Ingesting", *tables: str, company: str = "acme", **changes: str) -> pb.Platform:
    """Makes the mapping the company's own."""
    request = pb.PutPlatformMappingRequest(company_id=company, mapping=mapping("padoca", *tables, **changes))
    return (await ingest.stub.PutPlatformMapping(request)).platform
