"""Spatial guidance in SD.Next. Copy this file into SD.Next's `scripts` folder."""

import gradio as gr
from modules import processing, scripts_manager, shared
from modules.logger import log

from spatialguide import SpatialGuide, SpatialGuideError


class Script(scripts_manager.Script):
    """Guides the pipeline that is loaded, for one generation."""

    def title(self):
        """Its name in the list of scripts."""
        return "Spatial guidance"

    def show(self, is_img2img):
        """Text to image alone: for others SD.Next makes a new pipeline after the script has begun."""
        return not is_img2img

    def ui(self, _is_img2img):
        """Its controls."""
        with gr.Row():
            strength = gr.Slider(label="Strength", value=2.0, minimum=0, maximum=8, step=0.25)
            stop = gr.Slider(label="Part of the steps", value=0.4, minimum=0.05, maximum=1, step=0.05)
        return [strength, stop]

    def run(self, p, strength, stop):
        """Draw with guidance; where the prompt or the model cannot be guided, say why, and let SD.Next draw without."""
        guide = SpatialGuide(guidance={"strength": strength, "window": (0.0, stop)})
        try:
            # SD.Next encodes prompts itself, so that they must be named.
            attached = guide.attach(shared.sd_model, [p.prompt] * p.batch_size)
        except SpatialGuideError as error:
            log.warning(f"Spatial guidance: {error}")
            return None
        with attached as trace:
            processed = processing.process_images(p)
        p.extra_generation_params["Spatial guidance"] = f"strength={strength} stop={stop}"
        log.info(f"Spatial guidance: {len(trace.steps)} guided steps; {guide.parse(p.prompt).describe()}")
        return processed
