"""The judge on a small random model of images and text, made from a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from spatialguide.evaluation.detection import make_detector
from spatialguide.registry import default_registry
from spatialguide_plugins.detectors.vqa import _asked

WORDS = ("<pad>", "<unk>", "<image>", "how", "many", "one", "two", "yes", "Yes", "?")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }} {% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", additional_special_tokens=["<image>"]
    )
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=16, patch_size=8, num_hidden_layers=2, **sizes)
    text = LlamaConfig(vocab_size=len(WORDS), num_hidden_layers=1, pad_token_id=0, bos_token_id=0, eos_token_id=0, **sizes)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=2))
    folder = tmp_path_factory.mktemp("vqa")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_each_question_gets_the_probability_of_its_answer(checkpoint: Path) -> None:
    judge = make_detector(default_registry(), "vqa", {"model": str(checkpoint), "local_files_only": True, "device": "cpu"})
    questions = [f"how many ? {answer}" for answer in ("one", "two", "yes")]
    images = [Image.new("RGB", (20, 30), colour) for colour in ("red", "blue")]
    found = judge(images, questions)
    for answers in found:
        assert sorted(each.label for each in answers) == sorted(questions)
        assert [each.score for each in answers] == sorted((each.score for each in answers), reverse=True)
        assert 0 < sum(each.score for each in answers) < 1
        assert {each.box for each in answers} == {(0, 0, 20, 30)}
    scores = [{each.label: each.score for each in answers} for answers in found]
    assert scores[0] != scores[1]
    # "yes" may be written in two ways, which are two of the ten words that a random model finds about as likely.
    assert scores[0]["how many ? yes"] > max(scores[0]["how many ? one"], scores[0]["how many ? two"])


def test_a_label_is_a_question_with_its_answer_or_a_name() -> None:
    assert _asked("How many cars are in the image? two") == ("How many cars are in the image?", "two")
    assert _asked("Is it red?") == ("Is it red?", "yes")
    assert _asked("a cat") == ("Does this image show a cat?", "yes")
