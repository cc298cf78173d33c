"""Small pipelines with random weights, one of each family of models, built through diffusers' and transformers' own classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import torch
import transformers
from conftest import clip_config, make_pixart, make_sd3, make_sdxl, make_t5, make_t5_tokenizer, make_vae
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedTokenizerFast

_TEXTS = ["a cat to the left of a dog", "a red car above a bus", "below the right bird and cat dog"]
_SPECIAL = ("<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>")
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_bytes_tokenizer(start: bool = False, padding_side: str = "right") -> PreTrainedTokenizerFast:
    """As Qwen's, Gemma's and Mistral's: bytes, merged to words; a chat template; a start token where asked for."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _TEXTS * 4,
        trainers.BpeTrainer(vocab_size=400, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False),
    )
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, padding_side=padding_side, **names)
    made.chat_template = _CHAT
    return made


_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _flux(clip: CLIPTokenizer) -> Any:
    second = make_t5_tokenizer()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=4,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
    )
    return diffusers.FluxPipeline(
        FlowMatchEulerDiscreteScheduler(),
        make_vae(levels=4, shift_factor=0.0),
        CLIPTextModel(clip_config(clip)),
        clip,
        make_t5(second),
        second,
        transformer,
    )


def _flux2(transformer_text: int) -> diffusers.Flux2Transformer2DModel:
    return diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=3,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=transformer_text,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )


def _klein(clip: CLIPTokenizer) -> Any:
    text = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_TEXT))
    vae = diffusers.AutoencoderKLFlux2(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )
    return diffusers.Flux2KleinPipeline(FlowMatchEulerDiscreteScheduler(), vae, text, make_bytes_tokenizer(), _flux2(96))


def _flux2_dev(clip: CLIPTokenizer) -> Any:
    text = transformers.MistralForCausalLM(transformers.MistralConfig(**_TEXT))
    tokenizer = make_bytes_tokenizer(padding_side="left")
    return diffusers.Flux2Pipeline(FlowMatchEulerDiscreteScheduler(), None, text, tokenizer, _flux2(96))


def _chroma(clip: CLIPTokenizer) -> Any:
    tokenizer = make_t5_tokenizer()
    transformer = diffusers.ChromaTransformer2DModel(
        in_channels=16,
        num_layers=4,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return diffusers.ChromaPipeline(FlowMatchEulerDiscreteScheduler(), None, make_t5(tokenizer), tokenizer, transformer)


def _qwen_text() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
    config = transformers.Qwen2_5_VLConfig(text_config={**_TEXT, "rope_parameters": rope}, vision_config=vision)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    )
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    )
    pipeline = diffusers.QwenImagePipeline(
        FlowMatchEulerDiscreteScheduler(), vae, _qwen_text(), make_bytes_tokenizer(), transformer
    )
    # As many as the beginning of the template has with this tokenizer.
    before = pipeline.prompt_template_encode.partition("{}")[0]
    pipeline.prompt_template_encode_start_idx = len(pipeline.tokenizer(before).input_ids)
    return pipeline


def _z_image(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=4,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=32,
        axes_dims=[4, 6, 6],
        axes_lens=[256, 32, 32],
        rope_theta=256.0,
    )
    text = transformers.Qwen3Model(transformers.Qwen3Config(**_TEXT))
    vae = make_vae(levels=4, shift_factor=0.0)
    return diffusers.ZImagePipeline(FlowMatchEulerDiscreteScheduler(), vae, text, make_bytes_tokenizer(), transformer)


def _sana(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=8,
    )
    text = transformers.Gemma2Model(transformers.Gemma2Config(**_TEXT))
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    blocks = {f"{side}_block_types": ("ResBlock",) * 6 for side in ("encoder", "decoder")}
    widths = {f"{side}_block_out_channels": (8,) * 6 for side in ("encoder", "decoder")}
    depths = {f"{side}_layers_per_block": (1,) * 6 for side in ("encoder", "decoder")}
    scales = {f"{side}_qkv_multiscales": ((),) * 6 for side in ("encoder", "decoder")}
    vae = diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=4, **blocks, **widths, **depths, **scales
    )
    return diffusers.SanaPipeline(make_bytes_tokenizer(start=True), text, vae, transformer, scheduler)


def _lumina2(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=32,
        num_layers=4,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        axes_dim_rope=(4, 6, 6),
        axes_lens=(512, 64, 64),
        cap_feat_dim=32,
    )
    text = transformers.Gemma2Model(transformers.Gemma2Config(**_TEXT))
    return diffusers.Lumina2Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(), None, text, make_bytes_tokenizer(start=True, padding_side="left")
    )


def _aura_flow(clip: CLIPTokenizer) -> Any:
    tokenizer = make_t5_tokenizer()
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    text = transformers.UMT5EncoderModel(transformers.UMT5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **sizes))
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=16,
        num_mmdit_layers=3,
        num_single_dit_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pos_embed_max_size=256,
    )
    return diffusers.AuraFlowPipeline(tokenizer, text, None, transformer, FlowMatchEulerDiscreteScheduler())


def _cogview4(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=4,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=32,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=16,
        sample_size=8,
        rope_axes_dim=(16, 16),
    )
    text = transformers.GlmModel(transformers.GlmConfig(**_TEXT))
    return diffusers.CogView4Pipeline(
        make_bytes_tokenizer(start=True, padding_side="left"), text, None, transformer, FlowMatchEulerDiscreteScheduler()
    )


def _kandinsky5(clip: CLIPTokenizer) -> Any:
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=32,
        in_text_dim2=16,
        time_dim=32,
        out_visual_dim=4,
        model_dim=32,
        ff_dim=64,
        num_text_blocks=1,
        num_visual_blocks=4,
        axes_dims=(4, 6, 6),
    )
    tokenizer = make_bytes_tokenizer()
    pipeline = diffusers.Kandinsky5T2IPipeline(
        transformer, None, _qwen_text(), tokenizer, CLIPTextModel(clip_config(clip)), clip, FlowMatchEulerDiscreteScheduler()
    )
    before = pipeline.prompt_template.partition("{}")[0]
    pipeline.prompt_template_encode_start_idx = len(tokenizer(before).input_ids)
    pipeline.resolutions = [(64, 64), (64, 96)]
    return pipeline


def _hidream(clip: CLIPTokenizer) -> Any:
    third = make_t5_tokenizer()
    transformer = diffusers.HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[32, 32],
        text_emb_dim=32,
        axes_dims_rope=(4, 6, 6),
        max_resolution=(8, 8),
        llama_layers=[0, 1, 2, 2],
    )
    text = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_TEXT))
    clips = [CLIPTextModelWithProjection(clip_config(clip)) for _ in range(2)]
    pipeline = diffusers.HiDreamImagePipeline(
        FlowMatchEulerDiscreteScheduler(),
        None,
        clips[0],
        clip,
        clips[1],
        clip,
        make_t5(third),
        third,
        text,
        make_bytes_tokenizer(start=True),
        transformer,
    )
    pipeline.default_sample_size = 8
    return pipeline


_SMALL = {"height": 64, "width": 64}
#: How each is made, and called; latents of 8x8, or 4x4 pixels where patches are packed.
FAMILIES: dict[str, tuple[Callable[[CLIPTokenizer], Any], dict[str, Any]]] = {
    "sdxl": (make_sdxl, {"guidance_scale": 5.0}),
    "pixart": (
        lambda clip: make_pixart(),
        {**_SMALL, "use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 20},
    ),
    "sd3": (make_sd3, {"height": 32, "width": 32, "max_sequence_length": 20}),
    "sana": (
        _sana,
        {"height": 256, "width": 256, "use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 40},
    ),
    "flux": (_flux, {"height": 128, "width": 128, "max_sequence_length": 20}),
    "flux, true cfg": (
        _flux,
        {"height": 128, "width": 128, "max_sequence_length": 20, "true_cfg_scale": 4.0, "negative_prompt": "bus"},
    ),
    "flux 2 klein": (
        _klein,
        {"height": 128, "width": 128, "max_sequence_length": 64, "guidance_scale": 4.0, "text_encoder_out_layers": (1, 2, 3)},
    ),
    "flux 2 dev": (_flux2_dev, {"height": 128, "width": 128, "max_sequence_length": 800, "text_encoder_out_layers": (1, 2, 3)}),
    "chroma": (_chroma, {"height": 128, "width": 128, "max_sequence_length": 20}),
    "qwen": (_qwen, {"height": 128, "width": 128, "true_cfg_scale": 4.0, "negative_prompt": "bus"}),
    "z-image": (_z_image, {"height": 128, "width": 128, "max_sequence_length": 64, "guidance_scale": 4.0}),
    "z-image turbo": (_z_image, {"height": 128, "width": 128, "max_sequence_length": 64, "guidance_scale": 0.0}),
    "lumina 2": (_lumina2, {"height": 128, "width": 128}),
    "aura flow": (_aura_flow, {"height": 128, "width": 128, "max_sequence_length": 20}),
    "cogview 4": (_cogview4, {"height": 128, "width": 128, "max_sequence_length": 32}),
    "kandinsky 5": (_kandinsky5, {"height": 64, "width": 64, "max_sequence_length": 32}),
    "hidream": (_hidream, {"height": 128, "width": 128, "max_sequence_length": 32}),
}


def make_family(name: str, clip: CLIPTokenizer) -> Any:
    """The pipeline of a family, the same at every call."""
    torch.manual_seed(0)
    make, _ = FAMILIES[name]
    pipeline = make(clip)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            for key, parameter in part.named_parameters():
                # What training starts from would hide everything; diffusers 0.38 leaves Z-Image's padding as memory was.
                if not parameter.any() or key.endswith("pad_token"):
                    torch.nn.init.normal_(parameter, std=0.1)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, name: str, prompt: Any, seed: int = 0, **call: Any) -> torch.Tensor:
    """Latents of a prompt."""
    usual = {"num_inference_steps": 3, "output_type": "latent", **FAMILIES[name][1]}
    found = pipeline(prompt=prompt, **{**usual, **call}, generator=torch.Generator().manual_seed(seed), return_dict=False)[0]
    return found if isinstance(found, torch.Tensor) else torch.stack(list(found))
