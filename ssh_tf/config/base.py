"""What all groups of settings have in common."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

Precision = Literal["float32", "bfloat16", "float16"]
# What fits into the integers of every library that a number is passed to.
_LARGEST = 2**31 - 1


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _fits_into_32_bits(cls, value: Any) -> Any:
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and number > _LARGEST:
                raise ValueError(f"must be at most {_LARGEST}")
        return value
