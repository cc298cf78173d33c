"""How many of the parser's relations are right, by its confidence, on the bundled gold prompts.

Prints totals alone, since a part of the prompts is unread by whoever writes rules.
"""

from __future__ import annotations

from collections import defaultdict

from spatialguide import SpatialGuide
from spatialguide.evaluation.parser_benchmark import DATA, read_gold
from spatialguide.evaluation.parsing import score_records
from spatialguide.scenes.records import to_record

FILES = ("parser_gold.jsonl", "parser_gold_open.jsonl", "parser_gold_unread.jsonl")


def main() -> None:
    """Print a line for each confidence: found, right, precision, for each file of gold prompts and in all."""
    guide = SpatialGuide()
    bins: dict[float, list[list[int]]] = defaultdict(lambda: [[0, 0] for _ in FILES])
    for number, file in enumerate(FILES):
        rows = read_gold(DATA / file)
        for row, parsed in zip(rows, guide.parse_many(row["prompt"] for row in rows), strict=True):
            if parsed.scene is None:
                continue
            for relation in parsed.scene.relations:
                alone = parsed.scene.model_copy(update={"relations": (relation,)})
                rates = score_records([row], [to_record(alone)]).triples
                place = bins[relation.confidence or 0.0][number]
                place[0] += rates.right + rates.wrong
                place[1] += rates.right
    print(f"{'confidence':10} ", "  ".join(f"{name.removesuffix('.jsonl'):>24}" for name in (*FILES, "all")))
    for confidence, found in sorted(bins.items(), reverse=True):
        columns = [*found, [sum(part) for part in zip(*found, strict=True)]]
        print(f"{confidence:10} ", "  ".join(f"{r:5} of {n:5}  {100 * r / max(n, 1):5.1f} %" for n, r in columns))


if __name__ == "__main__":
    main()
