"""The contract, written from the models: JSON Schemas and an AsyncAPI document."""

from bridge.contract.documents import schemas
from bridge.contract.folder import differences, write

__all__ = ["differences", "schemas", "write"]
