"""The default recipe: a small Whisper from nothing, disturbed a little, watched where queries are hard."""

from workbench.augmentation import ColouredNoise, Silence, SpecAugment, Speed, Tilt
from workbench.recipes import Fit, Recipe

recipe = Recipe(
    # Many voices: disturb little. The character head must find where letters are before the decoder can listen, and
    # masks or a small share of the loss keep it from that for thousands of steps.
    augmentations=(Speed(0.9, 1.1, probability=0.3), Silence(0.1)),
    spec_augment=SpecAugment(n_frequency_masks=1, max_bins=8, n_time_masks=1, max_frames=10),
    fit=Fit(batch_size=8, learning_rate=2e-3, matrix_learning_rate=0.02, finetune_matrix_learning_rate=0.005,
            n_warmup_steps=150, ctc_weight=0.6),
    slices={"long_query": "duration_s > 3"},
    # Fewer than ten voices to learn from: make more of them, and start where the demo world's many have taught.
    few_speakers=Recipe(
        base="demo",
        augmentations=(
            Speed(0.75, 1.3, probability=0.9),
            ColouredNoise(5, 40, probability=0.5),
            Tilt(max_db_per_octave=5, probability=0.8),
            Silence(0.15),
        ),
        spec_augment=SpecAugment(max_bins=14, max_frames=10, max_warp=0.12, max_stretch=0.2),
        fit=Fit(batch_size=16, learning_rate=2e-3, matrix_learning_rate=0.02, n_warmup_steps=150, ctc_weight=0.5),
    ),
)
