"""What every group of settings has in common; knows no setting."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of keys: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
