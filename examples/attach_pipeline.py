"""Guide a pipeline that you already have. Here it is the bundled one; any diffusers pipeline with a UNet goes the same way.

python examples/attach_pipeline.py
"""

import torch

from spatialguide import SpatialGuide

guide = SpatialGuide()
pipe = guide.pipeline  # or StableDiffusionPipeline.from_pretrained(...), StableDiffusionControlNetPipeline, ...

prompt = "a giraffe above a bus"
with guide.attach(pipe) as trace:
    image = pipe(prompt, num_inference_steps=20, guidance_scale=3.0, generator=torch.Generator().manual_seed(0)).images[0]

image.resize((384, 384)).save("attached.png")
print(f"attached.png, {len(trace.steps)} guided steps; last centroids: {trace.steps[-1].images[0].centroids}")
