"""One colour a side, the same in every plot."""

from __future__ import annotations


def colour(side: str) -> str:
    """CSS class of a way, a case or a policy."""
    if side.startswith("diffusers") and side.endswith("compiled"):
        return "them-compiled"
    if side.startswith(("diffusers", "published", "one at a time")):
        return "them-low" if "bf16" in side or "fp16" in side else "them"
    if side.startswith(("openvino-genai", "whole")):
        return "peer"
    if side.startswith("reference"):
        return "torch"
    if side.startswith(("onnxruntime", "bare")):
        return "us-ort"
    return "us-low" if side.endswith("-fast") or "bf16" in side or "fp16" in side else "us"
