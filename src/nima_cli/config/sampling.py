"""How the next token is chosen: one default and one range for all that writes text; never imports torch."""

from pydantic import Field

from nima_cli.config.section import Section
from nima_cli.config.values import Float, Int


class SamplingConfig(Section):
    """How the next token is chosen."""

    temperature: Float = Field(0.8, ge=0.0, le=100.0, description="Randomness; 0 always takes the most likely token.")
    top_k: Int = Field(50, ge=0, description="Choose among this many most likely tokens; 0 takes all.")
    top_p: Float = Field(
        0.95, gt=0.0, le=1.0, description="Choose among the most likely tokens of this total probability."
    )
    min_p: Float = Field(0.0, ge=0.0, lt=1.0, description="Drop tokens below this share of the most likely one.")
    repetition_penalty: Float = Field(
        1.0, gt=0.0, le=100.0, description="Above 1: repeat less of what was already said; 1 is off."
    )
