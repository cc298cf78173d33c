"""The painter: draws one unit of requests. Every worker, here or elsewhere, has one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from spatialguide.batch.requests import Request, Unit
from spatialguide.config import GuideConfig, patched
from spatialguide.errors import BatchError, SpatialGuideError
from spatialguide.guide import SpatialGuide
from spatialguide.pictures.png import png_bytes
from spatialguide.registry import Registry
from spatialguide.scenes.scene import Scene

DONE, FAILED = "done", "failed"
#: How torch says that memory is full, on a GPU and elsewhere.
_FULL = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(frozen=True)
class Ready:
    """A request that can be drawn. guided: whether there is anything to guide."""

    request: Request
    scene: Scene
    config: GuideConfig
    guided: bool

    @cached_property
    def like(self) -> tuple[str, bool, int]:
        """What requests of one batch should share: the configuration, whether there is anything to guide, the length."""
        return self.config.model_dump_json(), self.guided, len(self.scene.prompt)


@dataclass(frozen=True)
class Prepared:
    """A unit, read: what can be drawn, and what is set aside."""

    unit: Unit
    ready: tuple[Ready, ...]
    failed: tuple[Outcome, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    Attributes:
        status: "done" or "failed"; error says why.
        key: content address: hash of prompt, scene, seed, configuration and versions. Empty for what was not drawn.
        png: the image as a file with its metadata; None for what was not drawn.
        seconds: of its batch, shared out. steps: sampling steps of its batch. skipped: guided steps that were left uncorrected.
    """

    request: Request
    status: str
    key: str = ""
    error: str = ""
    description: str = ""
    png: bytes | None = None
    seconds: float = 0.0
    steps: int = 0
    guided_steps: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Drawn:
    """A request that was drawn, and its file, which may still be being encoded."""

    outcome: Outcome
    png: Future[bytes]


class Painter:
    """Draws units with one loaded model.

    Args:
        config: of the run; requests may set keys on top of it, but not the model's.
        batch: requests drawn at once.
        threads: of torch in this process from now on; as it is if not given.
    """

    def __init__(
        self, config: GuideConfig, batch: int, *, threads: int | None = None, registry: Registry | None = None
    ) -> None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self._config, self._batch = config, batch
        # Large pictures take a good part of a second each: the next batch need not wait for that.
        self._encoder = ThreadPoolExecutor(1, "encode")
        self.guide = SpatialGuide(config, registry=registry)

    def load(self) -> None:
        """Load the model and build the terms now: what is wrong with the run itself must not look like poison.

        Raises:
            SpatialGuideError: as of `SpatialGuide.pipeline`, or a term that there is not.
        """
        self.guide.check()
        self.guide.pipeline  # noqa: B018

    def prepare(self, unit: Unit) -> Prepared:
        """Parse a unit's prompts in bulk; poison is set aside with its error."""
        failed = [Outcome(request, FAILED, error=request.problem) for request in unit.requests if request.problem]
        sound = [request for request in unit.requests if not request.problem]
        ready = []
        for request, parsed in zip(sound, self.guide.parse_many([request.prompt for request in sound]), strict=True):
            try:
                if parsed.problem is not None:
                    raise parsed.problem
                assert parsed.scene is not None
                config = self._config_of(request)
                guide = self._guide_of(config)
                each = Ready(request, parsed.scene, config, guide.guides(guide.plan(parsed.scene)))
                each.like  # noqa: B018 - what cannot be written down fails here, as this request's fault
                ready.append(each)
            except Exception as error:  # a plugin or a configuration may raise anything
                failed.append(Outcome(request, FAILED, error=said(error)))
        return Prepared(unit, tuple(ready), tuple(failed))

    def paint(self, prepared: Prepared) -> list[Outcome]:
        """An outcome for every request of the unit, in order.

        Batches are cut from the requests in order of configuration and length, so that they are the same at every start.
        """
        found: list[Outcome | Drawn] = list(prepared.failed)
        for batch in _batches(prepared.ready, self._batch):
            found += self._attempt(batch)
        outcomes = [_encoded(each) if isinstance(each, Drawn) else each for each in found]
        return sorted(outcomes, key=lambda outcome: outcome.request.index)

    def _attempt(self, batch: Sequence[Ready]) -> Sequence[Outcome | Drawn]:
        """Draw a batch; where that fails, each half of it, so that in the end only the guilty ones do."""
        try:
            return self._draw(batch)
        except Exception as error:  # a plugin may raise anything, and the others are to be drawn
            _refuse_fatal(error, batch[0].config == self._config, [each.request for each in batch])
            if len(batch) == 1:
                return [Outcome(batch[0].request, FAILED, error=said(error))]
            middle = len(batch) // 2
            return [*self._attempt(batch[:middle]), *self._attempt(batch[middle:])]

    def _draw(self, batch: Sequence[Ready]) -> list[Drawn]:
        began = time.perf_counter()
        # Shapes that never vary: an image's last bits do not depend on how many others are drawn with it.
        full = [*batch, *[batch[-1]] * (self._batch - len(batch))]
        result = self._guide_of(batch[0].config)(
            [each.scene.prompt for each in full],
            scene=[each.scene for each in full],
            seed=[each.request.seed for each in full],
        )
        seconds = (time.perf_counter() - began) / len(batch)
        drawn = []
        for number, each in enumerate(batch):
            seen = [step.images[number] for step in result.trace.steps]
            metadata = result.metadata[number]
            outcome = Outcome(
                each.request,
                DONE,
                key=content_key(metadata),
                description=each.scene.describe(),
                seconds=seconds,
                steps=metadata["settings"]["num_inference_steps"],
                guided_steps=sum(step is not None and (step.correction_norm > 0 or bool(step.bias)) for step in seen),
                skipped=sum(step is not None and step.skipped for step in seen),
            )
            drawn.append(Drawn(outcome, self._encoder.submit(png_bytes, result.images[number], metadata)))
        return drawn

    def _guide_of(self, config: GuideConfig) -> SpatialGuide:
        return self.guide if config == self._config else self.guide.with_config(config)

    def _config_of(self, request: Request) -> GuideConfig:
        if not request.config:
            return self._config
        fixed = sorted(
            key for key in request.config if key.split(".")[0] in ("backend", "backend_options", "parser", "parser_options")
        )
        if fixed:
            raise SpatialGuideError(f"a request cannot set '{fixed[0]}': a run has one model and one parser; start another run")
        return patched(self._config, request.config)


def content_key(metadata: dict[str, Any]) -> str:
    """Hash of everything that shapes an image."""
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()[:32]


def _batches(ready: Sequence[Ready], size: int) -> list[list[Ready]]:
    ordered = sorted(ready, key=lambda each: (each.like, each.request.index))
    batches: list[list[Ready]] = []
    for each in ordered:
        if batches and len(batches[-1]) < size and batches[-1][0].like[:2] == each.like[:2]:
            batches[-1].append(each)
        else:
            batches.append([each])
    return batches


def _encoded(drawn: Drawn) -> Outcome:
    """With the file; what cannot be encoded is poison as what cannot be drawn is."""
    try:
        return replace(drawn.outcome, png=drawn.png.result())
    except Exception as error:  # a backend may give anything for an image
        _refuse_fatal(error, True, [drawn.outcome.request])
        return Outcome(drawn.outcome.request, FAILED, error=said(error))


def _refuse_fatal(error: Exception, usual: bool, requests: Sequence[Request]) -> None:
    """Raise BatchError for what is no request's fault: every one after it would fail too.

    Args:
        usual: whether the batch was drawn with the run's own configuration; what a request sets may be too large.
        requests: of the batch.
    """
    import torch

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    # Only what torch says itself: our own errors quote prompts.
    words = " ".join(str(each) for each in causes if isinstance(each, RuntimeError))
    full = any(isinstance(each, (MemoryError, torch.cuda.OutOfMemoryError)) for each in causes)
    if usual and (full or any(phrase in words for phrase in _FULL)):
        raise BatchError("memory does not suffice for a batch: take a smaller --batch, or guidance.checkpointing") from error
    if "CUDA error" in words:
        numbers = ", ".join(str(request.index) for request in requests)
        raise BatchError(
            f"the GPU failed while requests {numbers} were drawn: {error}; start again, the run goes on where it was; "
            "should it fail there again, leave their prompts empty, so that the others keep their numbers"
        ) from error


def said(error: BaseException) -> str:
    """An error in one line; of those that are not ours with its type."""
    text = " ".join(str(error).split()).encode("utf-8", "replace").decode()
    return text if isinstance(error, SpatialGuideError) else f"{type(error).__name__}: {text}"
