"""Whisper checkpoints: build, find, load, save; the encoder that takes short clips; the character head on it.

One format for every model: OpenAI's (`dims`, `model_state_dict`), so `whisper.load_model(path)` opens whatever trains
here. A third key, `workbench`, which whisper ignores, holds what only we use.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
import whisper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters
from whisper.model import AudioEncoder, ModelDimensions, MultiHeadAttention, Whisper
from whisper.tokenizer import LANGUAGES

from workbench import fetching, frames, model_registry, precision, remote, settings, shared_runs, storage
from workbench.errors import CheckpointError, FetchError
from workbench.frames import Context
from workbench.letters import CHARACTERS
from workbench.text import NORMALIZER_VERSION

ENGLISH_VOCABULARY = 51_864
"""Tokens of Whisper's English-only tokenizer. Source: whisper.model.Whisper.is_multilingual."""

TEXT_CONTEXT = 448
"""Longest token sequence of every published Whisper."""


class ShortContextEncoder(AudioEncoder):
    """Whisper's encoder without the demand for 30 seconds: it takes the frames there are.

    With `is_checkpointed`, activations are computed again for the gradient instead of being kept.
    """

    is_checkpointed = False

    def forward(self, x: Tensor) -> Tensor:
        """Encode log-mel frames. Shape: [B, M, F] -> [B, F // 2, width], F // 2 at most `n_audio_ctx`."""
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x)).permute(0, 2, 1)
        # The sum would keep the convolution's order in memory, and every layer would copy it into its own again.
        x = (x + self.positional_embedding[: x.shape[1]]).to(x.dtype).contiguous()
        for block in self.blocks:
            x = through(block, x, is_checkpointed=self.is_checkpointed)
        return cast(Tensor, self.ln_post(x))


def through(block: nn.Module, *inputs: Any, is_checkpointed: bool) -> Tensor:
    """Run a block, its activations kept for the gradient or computed again. Source: Chen et al., arXiv 1604.06174."""
    if is_checkpointed and torch.is_grad_enabled():
        return cast(Tensor, checkpoint(block, *inputs, use_reentrant=False))
    return cast(Tensor, block(*inputs))


class SpeechModel(nn.Module):
    """A Whisper with a short-context encoder and, where one was trained, a character head.

    `n_prompt_names` is the longest list of names that its decoder was taught to be shown, 0 if it was taught none.
    """

    def __init__(self, dims: ModelDimensions, *, context: Context = "fitted", has_head: bool = True,
                 language: str = "en") -> None:
        super().__init__()
        self.whisper = Whisper(dims)
        self.whisper.encoder = ShortContextEncoder(
            dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
        )
        for part in self.whisper.modules():
            if isinstance(part, MultiHeadAttention):
                part.__class__ = precision.Attention
        self.head = nn.Linear(dims.n_audio_state, len(CHARACTERS) + 1) if has_head else None
        self.context, self.language, self.n_prompt_names = context, language, 0

    @property
    def dims(self) -> ModelDimensions:
        """The sizes that the checkpoint records."""
        return self.whisper.dims

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.whisper.device

    def context_samples(self, n_samples: int) -> int:
        """Round a clip's length up to the context that it is decoded in. Returns: samples, at most 30 s."""
        return frames.context_samples(n_samples, self.context)

    def letters(self, encoded: Tensor) -> Tensor:
        """Give the character head's log-probabilities. Shape: [B, F, width] -> [B, F, 1 + characters]."""
        if self.head is None:
            raise CheckpointError("this checkpoint has no character head; train it here for a few steps to get one")
        return self.head(encoded).float().log_softmax(-1)


def log_mel(waveforms: Tensor, n_mels: int) -> Tensor:
    """Compute Whisper's log-mel frames for a batch, each clip with its own floor.

    Shape: [B, T] -> [B, M, T // 160].
    Source: whisper.audio.log_mel_spectrogram, whose floor is 8 below the loudest bin of all that it is given; a batch
    would let loud clips mask their neighbours, so the floor is taken per clip, which equals Whisper's one by one.
    """
    window = torch.hann_window(N_FFT, device=waveforms.device)
    stft = torch.stft(waveforms, N_FFT, HOP_LENGTH, window=window, return_complex=True)[..., :-1]
    mel = mel_filters(waveforms.device, n_mels) @ (stft.real.square() + stft.imag.square())  # abs takes a root first
    log_spec = mel.clamp(min=1e-10).log10()
    log_spec = torch.maximum(log_spec, log_spec.amax(dim=(-2, -1), keepdim=True) - 8.0)
    return (log_spec + 4.0) / 4.0


def build(base: str, size: str, *, seed: int, context: Context = "fitted", language: str = "en") -> SpeechModel:
    """Make a model: from nothing at the size's dimensions when `base` is "", else from a checkpoint or published name.

    Raises: CheckpointError when `base` cannot be had.
    """
    if base:
        return load(find(base), context=context, language=language)
    how_much = settings.amounts(size)
    dims = ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=how_much.width,
        n_audio_head=how_much.width // 32,
        n_audio_layer=how_much.n_encoder_layers,
        n_vocab=ENGLISH_VOCABULARY,
        n_text_ctx=TEXT_CONTEXT,
        n_text_state=how_much.width,
        n_text_head=how_much.width // 32,
        n_text_layer=how_much.n_decoder_layers,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SpeechModel(dims, context=context)
        # Whisper's own constructor leaves positions uninitialized and tokens at unit variance, meant to be loaded over.
        nn.init.normal_(model.whisper.decoder.token_embedding.weight, std=dims.n_text_state**-0.5)
        nn.init.normal_(model.whisper.decoder.positional_embedding, std=0.01)
        # Its convolutions begin so faint that positions drown them. Source: He et al., arXiv 1502.01852.
        for convolution in (model.whisper.encoder.conv1, model.whisper.encoder.conv2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
    return model


def save(model: SpeechModel, path: Path, **notes: Any) -> Path:
    """Write a checkpoint that `whisper.load_model` opens; `notes` (plain values) join the `workbench` key."""
    ours = {"context": model.context, "language": model.language, "normalizer": NORMALIZER_VERSION,
            "characters": CHARACTERS, **notes}
    if model.n_prompt_names:
        ours["prompt_names"] = model.n_prompt_names
    if model.head is not None:
        ours["head"] = {name: tensor.detach().cpu() for name, tensor in model.head.state_dict().items()}
    weights = {name: tensor.detach().cpu() for name, tensor in model.whisper.state_dict().items()}
    with storage.replacing(path) as temporary:
        torch.save({"dims": asdict(model.dims), "model_state_dict": weights, "workbench": ours}, temporary)
    return path


def load(path: Path, *, context: Context | None = None, language: str = "", device: str = "cpu") -> SpeechModel:
    """Read any Whisper checkpoint; one that did not come from here starts padded and without a character head.

    Raises: CheckpointError when the file is absent, is not a Whisper checkpoint, or does not know the language.
    """
    checkpoint = _read(path)
    ours = checkpoint.get("workbench", {})
    dims = ModelDimensions(**checkpoint["dims"])
    model = SpeechModel(dims, context=context or ours.get("context", "padded"), has_head="head" in ours,
                        language=language or ours.get("language", "en"))
    model.n_prompt_names = ours.get("prompt_names", 0)
    known = list(LANGUAGES)[: model.whisper.num_languages] if model.whisper.is_multilingual else ["en"]
    if model.language not in known:
        raise CheckpointError(f"{path} does not know language {model.language!r}; choose one of {', '.join(known)}")
    try:
        model.whisper.load_state_dict(checkpoint["model_state_dict"])
        if model.head is not None:
            model.head.load_state_dict(ours["head"])
    except RuntimeError as error:
        raise CheckpointError(f"{path} has weights that do not fit its dims: {str(error).splitlines()[0]}") from error
    return model.to(device).eval()


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give the path of a Whisper .pt file, or a run's name")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not its own
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint ({type(error).__name__}); "
            "wanted a Whisper .pt file with `dims` and `model_state_dict`"
        ) from error
    names = {field.name for field in fields(ModelDimensions)}
    if not isinstance(checkpoint, dict) or not {"dims", "model_state_dict"} <= set(checkpoint):
        raise CheckpointError(f"{path} is not a Whisper checkpoint: it lacks `dims` or `model_state_dict`")
    if set(checkpoint["dims"]) != names:
        raise CheckpointError(f"{path} is not a Whisper checkpoint: its dims are {sorted(checkpoint['dims'])}")
    return checkpoint


def notes(path: Path) -> dict[str, Any]:
    """Read what the workbench wrote beside the weights, without the head; {} for a published checkpoint."""
    return {name: value for name, value in _read(path).get("workbench", {}).items() if name != "head"}


def find(name: str) -> Path:
    """Find a model: an existing path, a run's name, champion or a version, a published name, or an address.

    In that order. What is fetched is kept under data/models and fetched once; an address (`https://`, `s3://` or what
    else `remote` opens) may promise its checksum (`s3://bucket/model.pt#sha256=...`).

    Raises: CheckpointError, which says where a published checkpoint goes when it cannot be fetched; RegistryError for
        a version that is not registered.
    """
    return _found(name, _fetch)


def check(name: str) -> None:
    """Make sure that `find` has a model, and fetch nothing published or at an address. Raises: as `find`."""
    _found(name, _ask)


def _found(name: str, fetch: Callable[[str], Path]) -> Path:
    if Path(name).is_file():
        return Path(name).resolve()
    of_run = storage.run_folder(name) / "model.pt" if "/" not in name else Path(name)
    if of_run.parent.is_dir():
        shared_runs.bring(name, has_model=True)  # a colleague's run, which may have gone on
    if of_run.is_file():
        return of_run
    if name in model_registry.ALIASES or name.isdecimal():
        return model_registry.resolve(name).folder / "model.pt"
    if name in whisper.available_models() or remote.is_url(name):
        return fetch(name)
    if shared_runs.bring(name, has_model=True) and of_run.is_file():
        return of_run
    runs = sorted(path.parent.name for path in (storage.data_folder() / "runs").glob("*/model.pt"))
    raise CheckpointError(
        f"no model {name!r}: it is no file, no run with a model (there are: {', '.join(runs) or 'none'}), "
        f"no version of the registry, no address, and no published name ({', '.join(whisper.available_models())})"
    )


def _published(name: str) -> tuple[str, Path]:
    """Give the address of a published name or of an address itself, and where its file lies here."""
    folder, url = storage.data_folder() / "models", whisper._MODELS.get(name, name)
    return url, fetching.target(url, folder) if url == name else folder / Path(url).name


def _fetch(name: str) -> Path:
    """Fetch a published checkpoint once, resumed where it broke off; whisper's own loader then takes it, or refuses."""
    url, path = _published(name)
    try:
        fetching.fetch(url, path)
        return path if url == name else Path(whisper._download(url, str(path.parent), False))
    except (FetchError, OSError, RuntimeError) as error:
        raise _not_had(name, path, error) from error


def _ask(name: str) -> Path:
    """Ask for a published checkpoint unless it is here; what somebody put here himself is compared with its sum."""
    url, path = _published(name)
    if not path.is_file() or (url != name and storage.hash_file(path) != fetching.sha_of(url)):
        try:
            fetching.ask(url)
        except FetchError as error:
            raise _not_had(name, path, error) from error
    return path


def _not_had(name: str, path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{name} could not be had ({error}); on a machine with a network fetch it once, and put the "
                           f"file at {path}")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """How large a model is, for its card."""

    n_parameters: int
    n_audio_layers: int
    width: int


def describe(model: SpeechModel) -> ModelSize:
    """Count a model's parameters."""
    return ModelSize(sum(p.numel() for p in model.parameters()), model.dims.n_audio_layer, model.dims.n_audio_state)
