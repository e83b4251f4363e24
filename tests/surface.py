"""The public surface of classes: of the SDK's, whether they can be imported or only read, and
of ours."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path
from types import ModuleType
from typing import Any

import couchbase

SDK_FOLDER = Path(couchbase.__file__).parent.parent

Parameters = tuple[Parameter, ...]


# -- their members ------------------------------------------------------------------------


def public_members(cls: type) -> dict[str, Any]:
    """The public methods and properties of a class of the SDK."""
    return {
        name: found
        for name, found in inspect.getmembers(cls)
        if not name.startswith("_") and found is not getattr(dict, name, None)
    }


def parameters_of(member: Any) -> Parameters | None:
    """The parameters of a method without `self`, None for anything else."""
    if not callable(member):
        return None
    parameters = tuple(inspect.signature(member).parameters.values())
    return parameters[1:] if parameters and parameters[0].name == "self" else parameters


def parsed_parameters(function: ast.FunctionDef) -> Parameters:
    """The parameters of a method that can only be read, without `self`."""
    given = function.args
    names = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(names) - len(given.defaults)) + list(given.defaults)
    found = [
        Parameter(name.arg, Parameter.POSITIONAL_OR_KEYWORD, default=_value(default))
        for name, default in zip(names, defaults, strict=True)
    ]
    if given.vararg is not None:
        found.append(Parameter(given.vararg.arg, Parameter.VAR_POSITIONAL))
    for name, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(Parameter(name.arg, Parameter.KEYWORD_ONLY, default=_value(default)))
    if given.kwarg is not None:
        found.append(Parameter(given.kwarg.arg, Parameter.VAR_KEYWORD))
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    return tuple(found if decorators & {"staticmethod", "classmethod"} else found[1:])


def _value(node: ast.expr | None) -> Any:
    return Parameter.empty if node is None else ast.literal_eval(node)


def parsed_members(cls: ast.ClassDef) -> dict[str, Parameters | None]:
    """As `public_members` and `parameters_of`, of a class that cannot be imported."""
    members: dict[str, Parameters | None] = {}
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            is_property = "property" in map(ast.unparse, node.decorator_list)
            members[node.name] = None if is_property else parsed_parameters(node)
    return members


def sdk_txcouchbase() -> Iterator[tuple[str, ast.ClassDef]]:
    """The classes of the SDK's own `txcouchbase`, which ours hides, with their modules' names."""
    folder = SDK_FOLDER / "txcouchbase"
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if "logic" in parts:  # what its public classes stand on
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield ".".join(("txcouchbase", *parts)), node


# -- ours ---------------------------------------------------------------------------------


def module_of_ours(name: str) -> ModuleType | None:
    """A module of this package, None if there is none of that name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def class_of_ours(module: str, name: str) -> list[type]:
    """Our classes for a class of theirs: the deferred and the raw form where there are two."""
    found = module_of_ours(module)
    candidates = [getattr(found, name, None), getattr(found, f"TxRaw{name}", None)]
    return [cls for cls in candidates if isinstance(cls, type)]


def is_there(cls: type, name: str) -> bool:
    """Whether a class of ours has a member that does more than refuse."""
    member = getattr(cls, name, None)
    refuses = (inspect.getdoc(member) or "").startswith("Not yet")
    return member is not None and not refuses


def missing_parameters(theirs: Parameters | None, ours: Any) -> list[str]:
    """What a call that theirs understands could have and ours would not."""
    if theirs is None:
        return ["it is no property"] if callable(ours) else []
    if not callable(ours):
        return ["it is no method"]
    found = parameters_of(ours)
    assert found is not None
    by_name = {parameter.name: parameter for parameter in found}
    kinds = {parameter.kind for parameter in found}
    positional = [p.name for p in found if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    missing = []
    for place, parameter in enumerate(theirs):
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            if parameter.kind not in kinds:
                missing.append(str(parameter))
            continue
        match = by_name.get(parameter.name)
        if match is None:
            missing.append(parameter.name)
        elif match.default != parameter.default and match.default is Parameter.empty:
            missing.append(f"the default of {parameter.name}")
        elif parameter.kind is not Parameter.KEYWORD_ONLY and positional[place : place + 1] != [
            parameter.name
        ]:
            missing.append(f"{parameter.name} as argument {place + 1}")
    if any(
        parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        and parameter.name not in {p.name for p in theirs}
        and not {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD} <= {p.kind for p in theirs}
        for parameter in found
    ):
        missing.append("fewer required parameters")
    return missing


def shown_parameters(parameters: Parameters | None) -> str:
    """The parameters as the table shows them."""
    if parameters is None:
        return ""
    plain = [parameter.replace(annotation=Parameter.empty) for parameter in parameters]
    return str(Signature(plain))


def own_classes(module: ModuleType) -> list[type]:
    """The public classes that a module defines."""
    return [
        cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and cls.__module__ == module.__name__ and name[0] != "_"
    ]
