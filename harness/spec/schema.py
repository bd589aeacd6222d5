"""The JSON Schema of a spec's file, for editors: they complete fields and mark mistakes.

It is derived from the models, their docstrings included, and says what a TOML author may write:
there is no null in TOML, a layer needs its `type`, and a field that has a short form
(`kernel = 3`) takes it, as its validator's `json_schema_input_type` says. Rules between fields,
and between layers, are not in it; the reader knows them.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from harness.spec.model import MAX_LAYERS, Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class TomlSchema(GenerateJsonSchema):
    """What a TOML file may hold, where pydantic would describe Python's values."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave null out: a field without a value is not written at all."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Show defaults that can be written; the empty ones stand for what the reader fills in."""
        if schema.get("default") in (None, ""):
            return self.generate_inner(schema["schema"])
        return _without_null(super().default_schema(schema))

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Let the `type` decide, so that a mistake is marked where it is.

        Of alternatives in `oneOf` a validator can only say that none fits. Editors complete
        fields from alternatives, though, and not from conditions: they are there too, with one
        that always fits.
        """
        described = super().tagged_union_schema(schema)
        if "discriminator" not in described:  # a word or a table, which needs no tag
            return described
        tag, parts = (described["discriminator"][key] for key in ("propertyName", "mapping"))
        known = {"required": [tag], "properties": {tag: {"enum": list(parts)}}}
        conditions = [
            {
                "if": {"required": [tag], "properties": {tag: {"const": value}}},
                "then": {"$ref": part},
            }
            for value, part in parts.items()
        ]
        return {
            "type": "object",
            "anyOf": [*described["oneOf"], True],
            "allOf": [known, *conditions],
        }

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        """Write arrays of equal items with `items`, which editors know better than a list."""
        described = super().tuple_schema(schema)
        listed = described.get("prefixItems")
        if listed and all(item == listed[0] for item in listed):
            del described["prefixItems"]
            described["items"] = listed[0]
        return described

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        """Require a tag, such as `type = "conv2d"`: its default is for Python only."""
        inner: Any = field["schema"]
        while inner["type"] == "default":
            inner = inner["schema"]
        is_tag = inner["type"] == "literal" and len(inner["expected"]) == 1
        return is_tag or super().field_is_required(field, total)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """A field's title would only repeat its name."""
        return False


def _without_null(described: JsonSchemaValue) -> JsonSchemaValue:
    """Take from a table's default the fields that are null."""
    default = described.get("default")
    if isinstance(default, dict):
        described["default"] = {key: value for key, value in default.items() if value is not None}
    return described


def spec_schema() -> dict[str, Any]:
    """Return the schema of a spec's file (JSON Schema, draft 2020-12)."""
    schema = {"$schema": DIALECT, **Spec.model_json_schema(schema_generator=TomlSchema)}
    schema["properties"]["layers"] |= {"minItems": 1, "maxItems": MAX_LAYERS}
    return schema
