"""Train the bundled model's byte-level BPE tokenizer, in CLIP's own format.

The corpus is what captions say, all of COCO's names and common words, so that words that no caption uses are few tokens too.

python -m training.vocabulary runs/tokenizer
"""

from __future__ import annotations

import json
from pathlib import Path

import typer
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from training.plans import make_plans
from training.things import COLOURS, THINGS

MAX_LENGTH = 77
_COCO = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
_WORDS = (
    "a an the and with of to on in at by is are there picture photo image between around inside surrounded bottom top "
    "side corner center middle gray grey hand which that it its left right above below girl boy man woman baby ball "
    "table tower mountain cloud"
)


def train_tokenizer(size: int = 2048) -> CLIPTokenizer:
    """Byte-level BPE whose merges cover every corpus word; other words fall apart into several tokens.

    The trainer breaks ties between pairs at random, so train it once and keep the result.
    """
    template = CLIPTokenizer()
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    backend.normalizer = template.backend_tokenizer.normalizer
    backend.pre_tokenizer = template.backend_tokenizer.pre_tokenizer
    alphabet = sorted(ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False, min_frequency=2
    )
    names = [word for thing in THINGS for word in (thing.name, thing.plural)]
    words = [*_COCO.split(", "), *names, *COLOURS, *_WORDS.split()]
    backend.train_from_iterator([*words * 20, *make_plans(7, 5000)[1]], trainer)
    model = json.loads(backend.to_str())["model"]
    # CLIP's order: the byte alphabet, the alphabet as word ends, merges, then the two special tokens.
    learned = [token for token, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += [token for token in learned if token not in set(tokens)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=MAX_LENGTH)


def write(folder: Path) -> None:
    """Write vocab.json and merges.txt beside tokenizer.json, so that older transformers load it too."""
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    vocabulary = dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]))
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    lines = [m if isinstance(m, str) else " ".join(m) for m in merges]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    print(len(vocabulary), "tokens")


if __name__ == "__main__":
    typer.run(write)
