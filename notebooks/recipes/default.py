"""The default recipe: a small Whisper from nothing, disturbed as phones and rooms do, watched where queries are hard."""

from workbench.augmentation import ColouredNoise, Silence, SpecAugment, Speed, Tilt
from workbench.recipes import Fit, Recipe

recipe = Recipe(
    augmentations=(Speed(0.9, 1.1, probability=0.3), Tilt(probability=0.3), Silence(0.2)),
    spec_augment=SpecAugment(n_frequency_masks=2, max_bins=10, n_time_masks=2, max_frames=12),
    fit=Fit(learning_rate=2e-3, n_warmup_steps=150, ctc_weight=0.3),
    slices={"long_query": "duration_s > 3"},
    # Fewer than ten voices to learn from: make more of them.
    few_speakers=Recipe(
        augmentations=(
            Speed(0.75, 1.3, probability=0.9),
            ColouredNoise(5, 40, probability=0.5),
            Tilt(max_db_per_octave=5, probability=0.8),
            Silence(0.3),
        ),
        spec_augment=SpecAugment(max_bins=14, max_frames=10, max_warp=0.12, max_stretch=0.2),
        fit=Fit(batch_size=32, learning_rate=2e-3, n_warmup_steps=150, ctc_weight=0.5),
    ),
)
