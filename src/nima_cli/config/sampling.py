"""How the next token is chosen: one default and one range for all that writes text; never imports torch."""

from nima_cli.config.section import Float, Int, Section, setting


class SamplingConfig(Section):
    """How the next token is chosen."""

    temperature: Float = setting(0.8, "Randomness; 0 always takes the most likely token.", ge=0.0, le=100.0)
    top_k: Int = setting(50, "Choose among this many most likely tokens; 0 takes all.", ge=0)
    top_p: Float = setting(0.95, "Choose among the most likely tokens of this total probability.", gt=0.0, le=1.0)
    min_p: Float = setting(0.0, "Drop tokens below this share of the most likely one.", ge=0.0, lt=1.0)
    repetition_penalty: Float = setting(
        1.0, "Above 1: repeat less of what was already said; 1 is off.", gt=0.0, le=100.0
    )
