"""The JSON Schema of a task file, for editors that check and complete while one writes."""

import ast
import inspect
import itertools
import textwrap
from typing import Any

from pydantic import BaseModel

from gym_vlmrm.task.asking import AskSpec
from gym_vlmrm.task.builtin import builtin_folder
from gym_vlmrm.task.captions import CaptionSpec, GradeSpec
from gym_vlmrm.task.names import QUANTITY_NAME
from gym_vlmrm.task.parts import FadeSpec, PartSpec, SeenSpec, ShapeSpec, WindowSpec
from gym_vlmrm.task.past import LOOK_BACK
from gym_vlmrm.task.rules import MAX_DEPTH, MAX_LENGTH, MAX_PARTS
from gym_vlmrm.task.spec import CameraSpec, EnvSpec, FurtherCamera, Recipe, RewardSpec, SceneSpec, TaskSpec

__all__ = ["SCHEMA_FILE", "schema", "schema_line"]

SCHEMA_FILE = "task.schema.json"
"""Name of the schema beside the built-in tasks; `vlmrm schema` prints it."""
_COMPARISON = rf"^\s*({LOOK_BACK}|{QUANTITY_NAME})\s*(<=|>=|==|!=|<|>)\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of a task file, as ``vlmrm schema`` prints it.

    It knows ``include:``, short forms and rules of success. What only the environment can tell, such as the names of
    quantities, `vlmrm check` finds.

    Raises:
        OSError: the package's own source is missing, from which the descriptions come.
    """
    made = TaskSpec.model_json_schema()
    definitions = made["$defs"]
    for model in (
        AskSpec, CameraSpec, CaptionSpec, EnvSpec, FadeSpec, FurtherCamera, GradeSpec, PartSpec, Recipe, RewardSpec,
        SceneSpec, SeenSpec, ShapeSpec, TaskSpec, WindowSpec,
    ):  # fmt: skip
        _describe(definitions.get(model.__name__, made), model)
    properties = {
        "include": {
            "type": "string",
            "minLength": 1,
            "description": "Another task file, beside this one or built-in (_humanoid.yaml), that this one changes.",
        },
        **made["properties"],
    }
    properties["success"] = {
        "anyOf": [{"$ref": "#/$defs/Rule"}, {"type": "null"}],
        "description": "When a state is a success; never part of the reward.",
    }
    caption = definitions["CaptionSpec"]["properties"]
    caption["when"] = {"anyOf": [{"$ref": "#/$defs/Rule"}, {"type": "null"}], "description": "Where they are true."}
    for key in ("say", "grade"):
        for form in caption[key]["anyOf"]:
            if form.get("type") == "array":
                form["minItems"] = 1
    definitions["GradeSpec"]["properties"]["quantity"]["pattern"] = f"^({QUANTITY_NAME})$"
    properties["scene"] = {
        "anyOf": [{"enum": definitions["SceneSpec"]["properties"]["look"]["enum"]}, {"$ref": "#/$defs/SceneSpec"}],
        "description": "How the environment looks.",
    }
    recipe = properties["training"]["additionalProperties"]
    properties["training"]["additionalProperties"] = {"anyOf": [recipe, {"type": "null"}]}
    definitions["Rule"] = _rule()
    for section, prompt in itertools.product(("RewardSpec", "PartSpec"), ("goal", "avoid", "baseline")):
        for form in definitions[section]["properties"][prompt]["anyOf"]:
            if form.get("type") == "array":
                form["minItems"] = 1
    for section in ("RewardSpec", "PartSpec"):
        shape = {"enum": definitions["ShapeSpec"]["properties"]["kind"]["enum"]}
        definitions[section]["properties"]["shape"]["anyOf"].insert(0, shape)
    definitions["RewardSpec"]["properties"]["ask"]["anyOf"].insert(0, definitions["AskSpec"]["properties"]["share"])
    for section, key in (("RewardSpec", "parts"), ("RewardSpec", "cameras"), ("SceneSpec", "cameras")):
        definitions[section]["properties"][key] = _or_null(definitions[section]["properties"][key])
    sentences = [{"required": [key]} for key in ("goal", "avoid", "parts")]
    whole = {"required": made["required"], "properties": {"reward": {"anyOf": sentences}}}
    whole["properties"]["env"] = {"required": definitions["EnvSpec"].pop("required")}
    whole["properties"]["training"] = {"additionalProperties": {"required": definitions["Recipe"].pop("required")}}
    # A file that includes another one may leave out what that one says.
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Task of gym-vlmrm",
        "description": "One environment, one sentence, ways to train. See docs/tasks.md.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "if": {"not": {"required": ["include"]}},
        "then": whole,
        "$defs": definitions,
    }


def schema_line(path: str | None = None) -> str:
    """Return the first line of a task file by which editors find its schema: at `path`, or where it is installed."""
    return f"# yaml-language-server: $schema={path or builtin_folder() / SCHEMA_FILE}"


def _or_null(field: dict[str, Any]) -> dict[str, Any]:
    outer: dict[str, Any] = {key: field[key] for key in ("description", "default") if key in field}
    inner = {key: value for key, value in field.items() if key not in outer}
    return {"anyOf": [*inner.get("anyOf", [inner]), {"type": "null"}], **outer}


def _rule() -> dict[str, Any]:
    rule = {"$ref": "#/$defs/Rule"}
    several = {"type": "array", "items": rule, "minItems": 1, "maxItems": MAX_PARTS}
    forms: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {key: value},
            "required": [key],
            "additionalProperties": False,
        }
        for key, value in (("all", several), ("any", several), ("not", rule))
    ]
    comparison = {"type": "string", "maxLength": MAX_LENGTH, "pattern": _COMPARISON}
    words = f"A comparison such as 'pelvis_height < 0.3', or all, any, not of rules, at most {MAX_DEPTH} deep."
    return {"description": words, "anyOf": [comparison, *forms]}


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Give the fields what stands below them in the source, which editors show, instead of titles."""
    definition.pop("title", None)
    fields = definition["properties"]
    for field in fields.values():
        field.pop("title", None)
    for ancestor in model.__mro__:
        if ancestor.__module__.startswith("gym_vlmrm."):
            _describe_own(fields, ancestor)


def _describe_own(fields: dict[str, Any], model: type) -> None:
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(found, ast.ClassDef)
    for node, below in zip(found.body, found.body[1:], strict=False):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        known = getattr(model, "model_fields", {}).get(node.target.id)
        name = node.target.id if known is None or known.alias is None else known.alias
        if name not in fields:
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            fields[name].setdefault("description", " ".join(below.value.value.split()))
