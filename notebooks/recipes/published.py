"""Fine-tune a published Whisper on short queries: whole, or by low-rank changes where memory is short."""

from workbench.augmentation import Silence, SpecAugment, Speed
from workbench.recipes import Fit, Recipe

recipe = Recipe(
    base="tiny.en",  # or base.en, small, large-v3; another language with a multilingual one and `language`
    # Published weights know thirty seconds. A third of the loss asks the short context for what the padded one hears.
    context="fitted",
    augmentations=(Speed(0.9, 1.1, probability=0.3), Silence(0.1)),
    spec_augment=SpecAugment(n_frequency_masks=1, max_bins=8, n_time_masks=1, max_frames=10),
    # 1e-5 and 500 steps of warm-up are Hugging Face's for fine-tuning Whisper; the new character head learns at 1e-3.
    # On a small card: learns="lora" (its rate is higher, 5e-4), n_accumulated=4, is_checkpointed=True.
    fit=Fit(batch_size=16, learning_rate=1e-3, finetune_learning_rate=1e-5, n_warmup_steps=500, ctc_weight=0.2,
            match_weight=0.33),
    slices={"long_query": "duration_s > 3"},
)
