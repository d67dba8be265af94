"""The configuration's reference page and JSON Schema, made from the models so that they cannot disagree with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from pumpwatch.settings.models import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
}
_HEAD = """\
# Settings

<!-- Generated from the models in core/pumpwatch/settings by `make docs`; do not edit. -->

A configuration is one TOML file. Whatever is not written has its default. A key that is not listed here is an error.
`pumpwatch check config.toml` says everything that is wrong with a file at once, with line and remedy.
Editors that know JSON Schema (for example with the Taplo extension) complete and check keys with
[`config/pumpwatch.schema.json`](../../config/pumpwatch.schema.json); a whole example is
[`config/example.toml`](../../config/example.toml).
"""


class _PlainSchema(GenerateJsonSchema):
    """Without the titles made of keys ("Fast S"), which tell an editor's user nothing."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file."""
    schema = Settings.model_json_schema(schema_generator=_PlainSchema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "pumpwatch configuration"
    return schema


def settings_schema_text() -> str:
    """The JSON Schema as the file ``config/pumpwatch.schema.json`` holds it."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


def settings_reference() -> str:
    """The reference of all settings as Markdown: one section a table, one row a key."""
    parts = [_HEAD]
    for name, model, several in _tables(Settings, ""):
        header = f"[[{name}]]" if several else f"[{name}]"
        parts.append(f"\n## `{header}`\n\n{sentence(model.__doc__)}\n\n{keys_table(model)}")
    rules = Settings.model_fields["rules"].description
    parts.append(f"\n## `[rules.NAME]`\n\n{sentence(rules)} A rule without a table is on with its defaults.\n")
    parts.append("The rules, drivers and stores that come with pumpwatch have their keys in [plugins](plugins.md).\n")
    return "".join(parts)


def keys_table(model: type[BaseModel]) -> str:
    """The keys of one model as a Markdown table; for the reference pages of plugins as well."""
    schema = model.model_json_schema()["properties"]
    rows = [
        _row(key, field, schema[field.alias or key])
        for key, field in model.model_fields.items()
        if not _holds_tables(field)
    ]
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows)


def sentence(text: str | None) -> str:
    """Words on one line with a full stop."""
    words = " ".join((text or "").split())
    return words if words.endswith(".") else f"{words}."


def _tables(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel], bool]]:
    for key, field in model.model_fields.items():
        for table in filter(_is_model, (field.annotation, *get_args(field.annotation))):
            yield f"{prefix}{key}", table, table is not field.annotation
            yield from _tables(table, f"{prefix}{key}.")


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _holds_tables(field: FieldInfo) -> bool:
    return any(map(_is_model, get_args(field.annotation)))


def _row(key: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True, validated_data={})
        default = "—" if value is None else f"`{_toml(value)}`"
    meaning = sentence(field.description).replace("|", "\\|") if field.description else "—"
    return f"| `{key}` | {_type(schema)} | {default} | {meaning} |\n"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return next(_type(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{_toml(choice)}`" for choice in schema["enum"])
    if schema["type"] == "array":
        return "list of text"
    return _TYPES[schema["type"]] + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    limits = [
        f"{words} {schema[bound]:g}"
        for bound, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if bound in schema
    ]
    return ", ".join(["", *limits])


def _toml(value: object) -> str:
    if value == {}:
        return "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False, default=str)
