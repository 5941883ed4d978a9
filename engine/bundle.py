"""A bundle: the folder with everything an edit needs, in files that no PyTorch has to read."""

from functools import cached_property, partial
from pathlib import Path

from tokenizers import Tokenizer

from engine.bundle_files import check_sizes, find_artifact, read_manifest
from engine.manifest import Manifest
from engine.prompt_check import open_tokenizer
from engine.runtimes import RUNTIMES, Network, RuntimeOptions, load_network
from engine.runtimes.choice import choose_runtime


class Bundle:
    """An opened bundle; a network is checked against its digest and loaded when it is first asked for.

    Attributes:
        folder: where its files lie.
        manifest: what it says about itself.
        runtime: name of the runtime that runs all of its networks.
        reason: why that runtime, as half a sentence.
    """

    def __init__(self, folder: Path, manifest: Manifest, runtime: str, reason: str, options: RuntimeOptions) -> None:
        self.folder = folder
        self.manifest = manifest
        self.runtime = runtime
        self.reason = reason
        self._options = options

    @cached_property
    def text_encoder(self) -> Network:
        """`input_ids` (rows, 77) int64 → `prompt_embedding` (rows, 77, dim)."""
        return self._load("text_encoder")

    @cached_property
    def unet(self) -> Network:
        """`sample` (rows, 4, h, w), `timestep` (rows,), `encoder_hidden_states` (rows, 77, dim) → `out_sample`."""
        return self._load("unet")

    @cached_property
    def decoder(self) -> Network:
        """`latent_sample` (rows, 4, h, w), scaled → `image` (rows, H, W, 3) uint8."""
        return self._load("decoder")

    @cached_property
    def encoder(self) -> Network:
        """`image` (rows, H, W, 3) uint8 → `latent_mean` and `latent_std`, both (rows, 4, h, w), scaled."""
        return self._load("encoder")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """CLIP's; it pads to `max_tokens`, and what is longer comes out longer."""
        return open_tokenizer(self.folder, self.manifest)

    def _load(self, network: str) -> Network:
        return _load(self.folder, self.manifest, self._options, network, self.runtime)


def open_bundle(folder: str | Path, runtime: str = "auto", options: RuntimeOptions | None = None) -> Bundle:
    """Open a bundle; its files are looked at now and read when they are needed, the UNet's to choose a runtime.

    Args:
        folder: what `hiper-export` wrote.
        runtime: a key of `RUNTIMES`, or "auto" for the fastest here; see `Bundle.reason`.
        options: precision, threads and device.

    Raises:
        BundleError: it is damaged, of another version, or not made for this GPU; the message ends in the command that
            mends it.
        RuntimeMissingError: the runtime that was asked for is not here.
        ValueError: there is no runtime of that name.
    """
    if runtime not in (*RUNTIMES, "auto"):
        raise ValueError(f"the runtime is {runtime!r}; use auto or one of {', '.join(RUNTIMES)}")
    folder, options = Path(folder), options or RuntimeOptions()
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    if runtime == "auto":
        # An altered file is no reason to try the next runtime.
        find_artifact(folder, manifest, "unet", "onnxruntime", options.device)
        choice = choose_runtime(partial(_load, folder, manifest, options, "unet"), manifest, options)
        bundle = Bundle(folder, manifest, choice.runtime, choice.reason, options)
        bundle.unet = choice.unet
        return bundle
    return Bundle(folder, manifest, runtime, "it was asked for", options)


def _load(folder: Path, manifest: Manifest, options: RuntimeOptions, network: str, runtime: str) -> Network:
    return load_network(find_artifact(folder, manifest, network, runtime, options.device), runtime, options)
