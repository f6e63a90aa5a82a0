"""Models that never heard the speaker they are judged on, for data with too few speakers to hold any out."""

from collections.abc import Callable
from functools import partial

import pandas as pd

from workbench import reference_fit, side_by_side, training
from workbench.recipes import Recipe
from workbench.whisper_model import SpeechModel


def fit_folds(
    make_model: Callable[[], SpeechModel],
    table: pd.DataFrame,
    *,
    recipe: Recipe,
    n_steps: int,
    seed: int = 0,
    extra: pd.DataFrame | None = None,
    is_finetuning: bool = False,
) -> pd.DataFrame:
    """Hear every speaker with a model that never heard them: one fit a speaker left out.

    `extra` utterances join every fold's training and are not decoded.
    Returns: the hypotheses of all of `table`, as `reference_fit.listen` gives them.
    """
    def hear(speaker: str, model: SpeechModel) -> pd.DataFrame:
        others = table[table["speaker"] != speaker]
        train = others if extra is None else pd.concat([others, extra[extra["speaker"] != speaker]], ignore_index=True)
        fold = training.fit(model, train, valid=None, recipe=recipe, n_steps=n_steps, seed=seed,
                            is_finetuning=is_finetuning, title=f"without {speaker}")
        return reference_fit.listen(fold.checkpoint, table[table["speaker"] == speaker])

    speakers = sorted(table["speaker"].unique())
    heard = side_by_side.run([partial(hear, speaker, make_model()) for speaker in speakers])
    return pd.concat(heard, ignore_index=True)
