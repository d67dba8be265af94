"""Where a value stands in a server: a browse path or a NodeId, as text and as the library's objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NODE_ID = re.compile(r"(?:ns=(?P<ns>[^;]+);|nsu=(?P<nsu>[^;]+);)?(?P<kind>[isgb])=(?P<rest>.+)", re.DOTALL)
_SEGMENT = re.compile(r"(?:[^/&]|&.)+", re.DOTALL)
_NAME = re.compile(r"(?:(?P<ns>[^:&]+):)?(?P<name>(?:[^:&]|&[/:&])+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Name:
    """One step of a browse path."""

    namespace: str
    """Alias, URI or index; empty for namespace 0."""
    name: str


@dataclass(frozen=True, slots=True)
class BrowsePath:
    """The steps from the Objects folder along hierarchical references."""

    steps: tuple[Name, ...]

    def resolved(self, index: Mapping[str, int]) -> ua.BrowsePath:
        """As the service takes it; ``index`` gives each namespace's number. ``KeyError``: one is not there."""
        steps = [
            ua.RelativePathElement(
                ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences)),
                IsInverse=cast("ua.Boolean", False),
                IncludeSubtypes=cast("ua.Boolean", True),
                TargetName=ua.QualifiedName(step.name, index[step.namespace]),
            )
            for step in self.steps
        ]
        return ua.BrowsePath(ua.NodeId(ua.Int32(ObjectIds.ObjectsFolder)), ua.RelativePath(steps))


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A NodeId whose namespace is named."""

    namespace: str
    identifier: int | str | bytes | UUID

    def resolved(self, index: Mapping[str, int]) -> ua.NodeId:
        """With the namespace's number, likewise."""
        return ua.NodeId(cast("ua.Int32", self.identifier), ua.Int16(index[self.namespace]))


Address = BrowsePath | NodeAddress


def parse(text: str) -> Address:
    """Read ``/ns:Name/ns:Name`` (from Objects) or ``ns=…;s=…``, ``nsu=URI;i=…``.

    A namespace is an alias of the map, a URI or an index. In a name, ``&`` stands before ``/``, ``:`` and ``&``.
    Raises ``ValueError`` with the remedy.
    """
    if text.startswith("/"):
        segments = _SEGMENT.findall(text[1:])
        names = [_NAME.fullmatch(segment) for segment in segments]
        steps = [Name(found["ns"] or "", re.sub(r"&(.)", r"\1", found["name"])) for found in names if found]
        if not steps or len(steps) < len(names) or "/".join(segments) != text[1:]:
            raise ValueError(f"{text!r} is no browse path; write /NAMESPACE:NAME/… with & before / : & inside a name")
        return BrowsePath(tuple(steps))
    found = _NODE_ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no node; write a browse path (/NAMESPACE:NAME/…) or a NodeId (ns=…;s=…)")
    try:
        told = ua.NodeId.from_string(f"{found['kind']}={found['rest']}").Identifier
    except (UaError, ValueError) as error:
        raise ValueError(f"{text!r} is no NodeId; write ns=…; and i=NUMBER, s=TEXT, g=GUID or b=BASE64") from error
    return NodeAddress(found["ns"] or found["nsu"] or "", told)


def namespaces(uris: Sequence[str], aliases: Mapping[str, str]) -> dict[str, int]:
    """The number of each namespace by index, URI and alias, from a server's namespace array."""
    index = {"": 0} | {str(number): number for number in range(len(uris))}
    index |= {uri: number for number, uri in reversed(list(enumerate(uris)))}
    return index | {alias: index[uri] for alias, uri in aliases.items() if uri in index}
