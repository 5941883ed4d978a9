"""What each suite runs."""

from __future__ import annotations

from benchmarks.suite import Step, export, script

_WAYS = ("diffusers", "diffusers-compiled", "diffusers-bf16", "diffusers-bf16-compiled")
_ENGINE = ("onnxruntime", "openvino", "openvino-fast")
_PEERS = ("openvino-genai", "openvino-genai-fast")
_RECIPE = ("--steps", "30", "--guidance-scale", "4")
_BUNDLE = "FOLDER/menagerie.bundle"


def quick() -> list[Step]:
    """Menagerie on any machine, in less than ten minutes on two cores."""
    return _menagerie(
        rounds={"fit": 25, "edit": 20, "startup": 3, "rows": 4, "batching": 1},
        sizes={"edits": 12, "subjects": 1, "identities": 4, "seeds": 1},
        methods="truth,source,text,hiper,sdedit",
        serve=("--edits", "12", "--rounds", "8", "--offline-rounds", "1", "--seconds", "4", "--probes", "2"),
    )


def full() -> list[Step]:
    """Menagerie with the numbers that a publication needs, and the UNet of Stable Diffusion 1.x; an hour and more."""
    return [
        *_menagerie(
            rounds={"fit": 100, "edit": 101, "startup": 10, "rows": 20, "batching": 5},
            sizes={"edits": 64, "subjects": 4, "identities": 50, "seeds": 3},
            methods="truth,source,text,hiper,sdedit,inversion,imagic,tail_tokens",
            serve=("--edits", "64", "--rounds", "100", "--seconds", "60", "--probes", "8"),
        ),
        Step("gate", ("-m", "benchmarks.fidelity", "gate", "--folder", "FOLDER/parts", "--records", "FOLDER"), 10),
        Step("fit-sd1", script("fit", "--model", "sd1", "--rounds", "5"), 30),
        Step("unet-sd1", script("unet", "--model", "sd1", "--rounds", "5"), 30),
    ]


def _menagerie(rounds: dict[str, int], sizes: dict[str, int], methods: str, serve: tuple[str, ...]) -> list[Step]:
    peer = Step("openvino-genai", (), needs=("openvino_genai",))
    ways = ("diffusers", *_ENGINE)
    everybody = _each("way", (*_WAYS, *_ENGINE, *(() if peer.lacking else _PEERS)))
    return [
        # Only so that the suite's record says why it is missing.
        *([peer] if peer.lacking else []),
        Step("bundle", export("menagerie", "menagerie.bundle", "--force")),
        Step("floors", script("floors", "--model", "menagerie", "--device", "cpu")),
        Step("fit", script("fit", "--model", "menagerie", "--device", "cpu", *_rounds(rounds, "fit"))),
        Step(
            "presets",
            script("presets", "--model", "menagerie", "--device", "cpu", "--subjects", str(sizes["subjects"])),
        ),
        Step("edit", script("edit", "menagerie", _BUNDLE, *_RECIPE, *everybody, *_rounds(rounds, "edit"))),
        Step("startup", script("startup", "menagerie", _BUNDLE, *_each("way", ways), *_rounds(rounds, "startup"))),
        Step("rows", script("rows", _BUNDLE, *_each("way", ways), *_rounds(rounds, "rows"))),
        Step("batching", script("batching", _BUNDLE, "--edits", str(sizes["edits"]), *_rounds(rounds, "batching"))),
        Step("serve", script("serve", _BUNDLE, *serve), 6, needs=("benchmarks.serve", "fastapi", "uvicorn")),
        Step(
            "fidelity",
            (
                *("-m", "benchmarks.fidelity", "run", "--folder", "FOLDER/parts", "--records", "FOLDER"),
                *("--identities", str(sizes["identities"]), "--seeds", str(sizes["seeds"]), "--methods", methods),
            ),
        ),
    ]


def _each(option: str, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (f"--{option}", value)]


def _rounds(rounds: dict[str, int], name: str) -> tuple[str, str]:
    return "--rounds", str(rounds[name])
