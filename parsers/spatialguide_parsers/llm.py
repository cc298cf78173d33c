"""A language model as the parser: asked for the scene as JSON, checked, and backed by the default parser.

The model runs behind an endpoint that speaks OpenAI's chat completions, or here, through transformers. Nothing is asked of a
network but the endpoint that the configuration names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from spatialguide.contracts import Parser, Predicate
from spatialguide.documents import DocumentError, parse_json
from spatialguide.errors import ConfigError, ParserWarning, SceneError
from spatialguide.hookspecs import hookimpl
from spatialguide.scenes.records import from_record
from spatialguide.scenes.scene import Scene
from spatialguide_parsers.english import SpacyParser

#: Environment variable with the endpoint's key, which no configuration or picture should hold.
KEY = "SPATIALGUIDE_LLM_KEY"
_LONGEST = 200_000
_TEXT = {"type": "string"}
_TASK = """Read a prompt for a picture. Answer with one JSON object and nothing else:
{{"objects": [{{"id": "a", "text": "cat", "attributes": ["red"], "count": 1}}],
 "relations": [{{"subject": "a", "predicate": "left_of", "grounds": ["b"]}}]}}
Objects are the things to draw, each once: text is the singular noun and attributes are adjectives, both in the
prompt's own words; count is null for a plural without a number. State only relations that the prompt states, as the
viewer sees them, with these predicates and as many grounds: {predicates}."""


class LlmParser:
    """Asks a language model; what it answers wrongly is read by the default parser instead, with a warning.

    Args:
        relations: relation plugins by predicate name; the model may use no others.
        url: base of an endpoint, such as http://localhost:8000/v1; its key, if it wants one, is taken from the environment.
        model: the endpoint's name of the model; without a url, a local folder or hub id of an instruct model.
        download: whether a hub id may be downloaded.
        timeout: seconds for one answer of an endpoint.
        max_tokens: of one answer.

    Raises:
        ConfigError: no model is named, or the url is none of http or https.
    """

    def __init__(
        self,
        relations: Mapping[str, Predicate],
        url: str | None = None,
        model: str | None = None,
        download: bool = False,
        timeout: float = 60.0,
        max_tokens: int = 2000,
    ) -> None:
        if not model:
            raise ConfigError("the parser 'llm' needs parser_options: {model: NAME}, with url: of an endpoint or without")
        if url is not None and not str(url).startswith(("http://", "https://")):
            raise ConfigError(f"parser_options.url must begin with http:// or https://, not be '{url}'")
        self._relations, self._url, self._model = relations, url, model
        self._download, self._timeout, self._most = download, timeout, max_tokens
        self._rules = SpacyParser(relations)

    def __call__(self, prompt: str) -> Scene:
        """Parse one prompt.

        Raises:
            PromptError: as the default parser.
        """
        fault = ""
        try:
            return self._scene(prompt, self._answer(prompt))
        except (SceneError, DocumentError) as error:
            fault = str(error)
        except Exception as error:  # of the endpoint, the network, or the model
            fault = f"{type(error).__name__}: {error}"
        message = f"the language model's reading of '{prompt:.80}' is not used, the default parser's is: {fault:.300}"
        warnings.warn(message, ParserWarning, stacklevel=2)
        return self._rules(prompt)

    def _scene(self, prompt: str, answer: str) -> Scene:
        """The scene of an answer: objects in the prompt's words, registered predicates with the right number of grounds."""
        found = parse_json(answer[answer.find("{") : answer.rfind("}") + 1][:_LONGEST])
        relations = found.get("relations", []) if isinstance(found, dict) else None
        if not isinstance(relations, list) or not all(isinstance(each, dict) for each in relations):
            raise SceneError("it is no object with objects and relations")
        rows = []
        for each in relations:
            predicate, grounds = str(each.get("predicate")), [str(ground) for ground in each.get("grounds") or ()]
            if predicate not in self._relations or len(grounds) != self._relations[predicate].grounds:
                raise SceneError(f"no relation plugin is '{predicate}' with {len(grounds)} grounds")
            rows.append([str(each.get("subject")), predicate, *grounds])
        return from_record({"prompt": prompt, "objects": found.get("objects", []), "relations": rows})

    def _answer(self, prompt: str) -> str:
        wanted = ", ".join(f"{name} ({relation.grounds})" for name, relation in self._relations.items())
        messages = [
            {"role": "system", "content": _TASK.format(predicates=wanted)},
            {"role": "user", "content": prompt},
        ]
        return self._asked(messages) if self._url is not None else self._generated(messages)

    def _asked(self, messages: list[dict[str, str]]) -> str:
        import httpx

        key = os.environ.get(KEY)
        form = {"type": "json_schema", "json_schema": {"name": "scene", "strict": True, "schema": self._schema()}}
        response = httpx.post(
            f"{str(self._url).rstrip('/')}/chat/completions",
            json={
                "model": self._model,
                "messages": messages,
                "temperature": 0,
                "max_tokens": self._most,
                "response_format": form,
            },
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._timeout,
        )
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])

    def _generated(self, messages: list[dict[str, str]]) -> str:
        generator = self._generator
        if generator.tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages)
            return str(generator(f"{text}\n\n", max_new_tokens=self._most, return_full_text=False)[0]["generated_text"])
        whole = generator(messages, max_new_tokens=self._most)[0]["generated_text"]
        return str(whole[-1]["content"])

    @cached_property
    def _generator(self) -> Any:
        from huggingface_hub import snapshot_download
        from transformers import pipeline

        name, local = self._model, not self._download
        folder = name if Path(name).is_dir() else snapshot_download(name, local_files_only=local)
        return pipeline("text-generation", model=folder, do_sample=False)

    def _schema(self) -> dict[str, Any]:
        """JSON schema of an answer."""
        count = {"type": ["integer", "null"]}
        item = {"id": _TEXT, "text": _TEXT, "attributes": {"type": "array", "items": _TEXT}, "count": count}
        edge = {
            "subject": _TEXT,
            "predicate": {"type": "string", "enum": sorted(self._relations)},
            "grounds": {"type": "array", "items": _TEXT},
        }
        lists = {"objects": item, "relations": edge}
        return _object({name: {"type": "array", "items": _object(each)} for name, each in lists.items()})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@hookimpl
def spatialguide_parsers(register: Callable[[str, Callable[..., Parser]], None]) -> None:
    """llm: a language model of the user's."""
    register("llm", LlmParser)
