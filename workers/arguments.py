"""Task arguments are checked before anything is done: a call from Flower gets one line that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the annotations with a one-line ValueError."""
    validated = validate_call(config=ConfigDict(strict=True))(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            raise ValueError(_one_line(error)) from None

    return call


def _one_line(error: ValidationError) -> str:
    """`budget: Input should be a valid integer; …`: the argument's name, never its value."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
