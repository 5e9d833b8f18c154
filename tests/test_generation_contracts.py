# Copyright 2026 The FaceGPT developers.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What transformers promises of every `generate`, held by a FaceGPT that sees faces and by one that also reads them.

transformers' own tests of it are not in its releases (see `fetch_common_suite`); these are the same promises. Not
here: caches that need an accelerator or another library (offloaded, quantised), contrastive and constrained search,
which transformers no longer has, and compiled generation, which takes minutes. What becomes of faces is in
`test_answer_generation.py` and `test_running_faces.py`.
"""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from modeling_facegpt import FaceGPTForConditionalGeneration, FaceGPTProcessor

NEW_TOKENS = 6
GREEDY = {"do_sample": False, "max_new_tokens": NEW_TOKENS}
Inputs = dict[str, Any]  # tensors, by the names of `forward`


@pytest.fixture(params=["facegpt", "dialogue_facegpt"])
def model(request: pytest.FixtureRequest) -> FaceGPTForConditionalGeneration:
    return request.getfixturevalue(request.param)


@pytest.fixture
def prompts(processor: FaceGPTProcessor) -> Inputs:
    """Two questions of different length about two pictures, padded on the left."""
    pictures = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    longer = copy.deepcopy(processor.reconstruct_messages())
    longer[0]["content"][1]["text"] += " Then tell what you see."
    return dict(processor(pictures=pictures, messages=[processor.reconstruct_messages(), longer]))


@pytest.fixture
def prompt(processor: FaceGPTProcessor) -> Inputs:
    """One question about one picture."""
    picture = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    return dict(processor(pictures=picture, messages=processor.reconstruct_messages()))


@pytest.fixture
def words(processor: FaceGPTProcessor) -> dict[str, Any]:
    """Settings for answers of words alone that do not end before their last token."""
    return {**GREEDY, "suppress_tokens": [processor.face_token_id, processor.end_token_id]}


def answers(model: FaceGPTForConditionalGeneration, inputs: Inputs, **settings: Any) -> Tensor:
    """The new tokens `(B, T)` alone."""
    return model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]


def continued(inputs: Inputs, answer: Tensor) -> Inputs:
    """The prompts with tokens behind them."""
    mask = torch.cat((inputs["attention_mask"], torch.ones_like(answer)), 1)
    return {**inputs, "input_ids": torch.cat((inputs["input_ids"], answer), 1), "attention_mask": mask}


@torch.no_grad()
def log_probabilities(
    model: FaceGPTForConditionalGeneration, inputs: Inputs, answer: Tensor, forbidden: list[int]
) -> Tensor:
    """Of each token of an answer `(B, T)`, from one forward pass over prompts and answers. Positions count from the
    first token that is no padding."""
    given = continued(inputs, answer)
    positions = (given["attention_mask"].cumsum(1) - 1).clamp_min(0)
    scores = model(**given, position_ids=positions).logits.log_softmax(-1)
    scores[..., forbidden] = -torch.inf
    before = inputs["input_ids"].shape[1] - 1
    return scores[:, before:-1].gather(-1, answer[..., None])[..., 0]


def test_greedy_decoding_says_what_is_likeliest_at_every_step(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any]
):
    answer = answers(model, prompts, **words)
    assert answer.shape == (2, NEW_TOKENS)
    for length in range(NEW_TOKENS):
        said, given = answer[:, length], continued(prompts, answer[:, :length])
        positions = (given["attention_mask"].cumsum(1) - 1).clamp_min(0)
        with torch.no_grad():
            scores = model(**given, position_ids=positions).logits[:, -1]
        scores[:, words["suppress_tokens"]] = -torch.inf
        assert torch.equal(scores.argmax(-1), said)


def test_one_beam_is_greedy_decoding(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    assert torch.equal(model.generate(**prompts, **GREEDY, num_beams=1), model.generate(**prompts, **GREEDY))


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_beams_come_best_first_with_their_true_scores(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any], penalty: float
):
    wide = {"num_beams": 4, "num_return_sequences": 3, "length_penalty": penalty, "return_dict_in_generate": True}
    output = model.generate(**prompts, **words, **wide, output_scores=True)
    answer = output.sequences[:, prompts["input_ids"].shape[1] :]
    inputs = {name: value.repeat_interleave(3, 0) for name, value in prompts.items()}
    true = log_probabilities(model, inputs, answer, words["suppress_tokens"]).sum(1) / NEW_TOKENS**penalty
    torch.testing.assert_close(output.sequences_scores, true, rtol=1e-4, atol=1e-4)
    scores = output.sequences_scores.view(2, 3)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    assert len({tuple(row) for row in answer[:3].tolist()}) == 3
    summed = model.vlm.compute_transition_scores(output.sequences, output.scores, output.beam_indices).sum(1)
    torch.testing.assert_close(summed / NEW_TOKENS**penalty, true, rtol=1e-4, atol=1e-4)


def test_enough_beams_find_the_likeliest_answer(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any]
):
    allowed = [10, 20, 30, 40]
    vocabulary = model.get_input_embeddings().weight.shape[0]
    forbidden = [token for token in range(vocabulary) if token not in allowed]
    settings = {**words, "suppress_tokens": forbidden, "max_new_tokens": 3}
    every = torch.tensor(list(itertools.product(allowed, repeat=3)))
    inputs = {name: value.expand(len(every), *value.shape[1:]) for name, value in prompt.items()}
    best = every[log_probabilities(model, inputs, every, []).sum(1).argmax()]
    assert torch.equal(answers(model, prompt, **settings, num_beams=16)[0], best)


def test_more_answers_than_beams_are_refused(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    with pytest.raises(ValueError, match="num_return_sequences"):
        model.generate(**prompts, **GREEDY, num_beams=2, num_return_sequences=3)


def test_sampling_repeats_itself_by_its_seed(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    settings = {"do_sample": True, "max_new_tokens": NEW_TOKENS, "num_return_sequences": 3}
    said = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        said.append(model.generate(**prompts, **settings))
    assert said[0].shape[0] == 6
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])


def test_sampling_from_one_token_is_greedy_decoding(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    sampled = model.generate(**prompts, do_sample=True, top_k=1, max_new_tokens=NEW_TOKENS)
    assert torch.equal(sampled, model.generate(**prompts, **GREEDY))


def test_samples_follow_the_probabilities(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any]
):
    torch.manual_seed(0)
    likely: dict[str, Any] = {
        "do_sample": True,
        "top_k": 2,
        "max_new_tokens": 1,
        "suppress_tokens": words["suppress_tokens"],
    }
    said = answers(model, prompt, **likely, num_return_sequences=2000)[:, 0]
    with torch.no_grad():
        scores = model(**prompt).logits[0, -1]
    scores[words["suppress_tokens"]] = -torch.inf
    best = scores.topk(2)
    share = (said == best.indices[0]).double().mean().item()
    assert set(said.tolist()) <= set(best.indices.tolist())
    assert share == pytest.approx(best.values.softmax(0)[0].item(), abs=0.05)  # four standard deviations


@pytest.mark.parametrize("kind", ["assistant", "prompt lookup"])
def test_assisted_decoding_says_what_greedy_decoding_says(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any], kind: str
):
    assistant = copy.deepcopy(model)
    with torch.no_grad():  # another opinion, so that some of its tokens are taken back
        for weight in assistant.vlm.model.language_model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    helped: dict[str, Any] = {"assistant_model": assistant} if kind == "assistant" else {"prompt_lookup_num_tokens": 3}
    assert torch.equal(model.generate(**prompt, **words, **helped), model.generate(**prompt, **words))


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_more_padding_changes_no_answer(
    model: FaceGPTForConditionalGeneration,
    prompts: Inputs,
    processor: FaceGPTProcessor,
    words: dict[str, Any],
    settings: dict[str, Any],
):
    pad = torch.nn.functional.pad
    padded = {
        "input_ids": pad(prompts["input_ids"], (5, 0), value=processor.tokenizer.pad_token_id),
        "attention_mask": pad(prompts["attention_mask"], (5, 0)),
        "pixel_values": prompts["pixel_values"],
    }
    assert torch.equal(answers(model, padded, **words, **settings), answers(model, prompts, **words, **settings))


@pytest.mark.parametrize(
    "settings",
    [{"use_cache": False}, {"cache_implementation": "static", "disable_compile": True}],
    ids=["no cache", "static cache"],
)
@pytest.mark.parametrize("min_faces", [0, 2])
def test_every_cache_gives_the_same_answers(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, settings: dict[str, Any], min_faces: int
):
    wanted = {**GREEDY, "min_faces": min_faces, "return_dict_in_generate": True, "output_logits": True}
    usual, other = model.generate(**prompts, **wanted), model.generate(**prompts, **wanted, **settings)
    assert torch.equal(usual.sequences, other.sequences)
    torch.testing.assert_close(torch.stack(usual.logits), torch.stack(other.logits), rtol=1e-4, atol=1e-4)
    if min_faces:
        torch.testing.assert_close(usual.face_parameters, other.face_parameters, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_beams_and_static_caches_go_together(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any], beams: int
):
    static = {"cache_implementation": "static", "disable_compile": True}
    usual = model.generate(**prompts, **words, num_beams=beams)
    assert torch.equal(model.generate(**prompts, **words, num_beams=beams, **static), usual)


def test_an_answer_goes_on_from_its_cache(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any]
):
    whole = model.generate(**prompt, **words)
    half = model.generate(**prompt, **{**words, "max_new_tokens": 3}, return_dict_in_generate=True)
    rest = {
        "input_ids": half.sequences,
        "attention_mask": torch.ones_like(half.sequences),
        "past_key_values": half.past_key_values,
    }
    assert torch.equal(model.generate(**rest, **{**words, "max_new_tokens": NEW_TOKENS - 3}), whole)


class Listener(BaseStreamer):
    """Keeps what a streamer is told."""

    def __init__(self):
        self.parts: list[list[int]] = []
        self.ended = 0

    def put(self, value: Tensor) -> None:
        self.parts.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("settings", [{}, {"do_sample": True}, {"min_faces": 2}], ids=["greedy", "sampling", "faces"])
def test_a_streamer_is_told_every_token_once(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, settings: dict[str, Any]
):
    listener = Listener()
    sequences = model.generate(**prompt, **{**GREEDY, **settings}, streamer=listener)
    length = prompt["input_ids"].shape[1]
    assert listener.ended == 1
    assert listener.parts[0] == prompt["input_ids"][0].tolist()
    assert listener.parts[1:] == [[token] for token in sequences[0, length:].tolist()]


def test_a_streamer_and_beams_are_refused(model: FaceGPTForConditionalGeneration, prompt: Inputs):
    with pytest.raises(ValueError, match="streamer"):
        model.generate(**prompt, **GREEDY, num_beams=2, streamer=Listener())


SHAPED: list[dict[str, Any]] = [{}, {"do_sample": True}, {"num_beams": 3}, {"num_beams": 3, "do_sample": True}]


@pytest.mark.parametrize("use_cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("settings", SHAPED, ids=["greedy", "sampling", "beams", "beam sampling"])
def test_everything_that_is_asked_for_comes_in_its_shape(
    model: FaceGPTForConditionalGeneration,
    prompts: Inputs,
    words: dict[str, Any],
    settings: dict[str, Any],
    use_cache: bool,
):
    model.set_attn_implementation("eager")  # which alone gives its weights
    asked = dict.fromkeys(("output_scores", "output_logits", "output_hidden_states", "output_attentions"), True)
    wanted = {**words, **settings, **asked, "use_cache": use_cache, "return_dict_in_generate": True}
    output = model.generate(**prompts, **wanted)
    text = model.config.get_text_config()
    rows, length, beams = 2, prompts["input_ids"].shape[1], settings.get("num_beams", 1)
    assert output.sequences.shape == (rows, length + NEW_TOKENS)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    for scores in (output.scores, output.logits):
        assert [step.shape for step in scores] == [(rows * beams, vocabulary)] * NEW_TOKENS
    assert len(output.hidden_states) == len(output.attentions) == NEW_TOKENS
    for step, (states, weights) in enumerate(zip(output.hidden_states, output.attentions, strict=True)):
        seen = length + step
        read = 1 if use_cache and step else seen
        assert [layer.shape for layer in states] == [(rows * beams, read, text.hidden_size)] * (
            text.num_hidden_layers + 1
        )
        heads = text.num_attention_heads
        assert [layer.shape for layer in weights] == [(rows * beams, heads, read, seen)] * text.num_hidden_layers
    assert (output.past_key_values is not None) == use_cache
    if use_cache:
        assert output.past_key_values.get_seq_length() == length + NEW_TOKENS - 1


def test_the_states_are_those_of_a_forward_pass(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any]
):
    output = model.generate(**prompt, **words, return_dict_in_generate=True, output_hidden_states=True)
    steps = torch.cat([states[-1] for states in output.hidden_states], 1)
    answer = output.sequences[:, prompt["input_ids"].shape[1] : -1]
    with torch.no_grad():
        whole = model(**continued(prompt, answer), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)


def test_lengths_are_counted_with_and_without_the_prompt(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any], processor: FaceGPTProcessor
):
    length, end = prompts["input_ids"].shape[1], processor.end_token_id
    at_will = {name: value for name, value in words.items() if name != "max_new_tokens"}
    assert model.generate(**prompts, **at_will, max_new_tokens=3).shape[1] == length + 3
    assert model.generate(**prompts, **at_will, max_length=length + 4).shape[1] == length + 4
    # Whatever comes first ends an answer, unless it is too short yet.
    first = int(answers(model, prompts, **words)[0, 0])
    ending = {"eos_token_id": [first, end], "pad_token_id": 0, "do_sample": False, "max_new_tokens": NEW_TOKENS}
    assert (answers(model, prompts, **ending, suppress_tokens=words["suppress_tokens"])[0, 1:] == 0).all()
    for shortest in ({"min_new_tokens": 3}, {"min_length": length + 3}):
        answer = answers(model, prompts, **ending, **shortest)
        assert answer.shape[1] >= 3 and not (answer[:, :3] == first).any() and not (answer[:, :3] == end).any()


def test_rows_that_have_ended_are_padded(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any]
):
    usual = answers(model, prompts, **words).tolist()
    end = usual[0][2]
    answer = answers(model, prompts, **words, eos_token_id=end, pad_token_id=7).tolist()
    for whole, said in zip(usual, answer, strict=True):
        place = whole.index(end) + 1 if end in whole else NEW_TOKENS
        assert said == (whole[:place] + [7] * NEW_TOKENS)[: len(said)]
        assert len(said) >= place


class AfterTokens(StoppingCriteria):
    def __init__(self, length: int):
        self.length = length

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}, {"do_sample": True}], ids=["greedy", "beams", "sampling"])
def test_criteria_of_ones_own_stop_an_answer(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any], settings: dict[str, Any]
):
    length = prompts["input_ids"].shape[1]
    criteria = StoppingCriteriaList([AfterTokens(length + 2)])
    sequences = model.generate(**prompts, **{**words, **settings}, stopping_criteria=criteria)
    assert sequences.shape[1] == length + 2
    assert len(criteria) == 1  # what was given is left as it was


def test_words_stop_an_answer(
    model: FaceGPTForConditionalGeneration, prompt: Inputs, words: dict[str, Any], processor: FaceGPTProcessor
):
    usual = answers(model, prompt, **words)[0]
    stop = processor.decode(usual[2:3])
    assert stop.strip()
    stopped = answers(model, prompt, **words, stop_strings=[stop], tokenizer=processor.tokenizer)[0]
    written = [processor.decode(usual[: count + 1]) for count in range(NEW_TOKENS)]
    first = next(count for count, text in enumerate(written) if stop in text)
    assert stopped.tolist() == usual[: first + 1].tolist()


def test_processors_of_logits_are_heard(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any]
):
    usual = answers(model, prompts, **words)
    first = usual[:, 0].unique().tolist()
    assert not torch.isin(
        answers(model, prompts, **words, bad_words_ids=[[token] for token in first])[:, 0], torch.tensor(first)
    ).any()
    once = answers(model, prompts, **words, no_repeat_ngram_size=1)
    assert all(len(set(row)) == NEW_TOKENS for row in once.tolist())

    def only(batch: int, ids: Tensor) -> list[int]:
        return [30 + batch]

    assert answers(model, prompts, **words, prefix_allowed_tokens_fn=only).tolist() == [
        [30] * NEW_TOKENS,
        [31] * NEW_TOKENS,
    ]


def test_a_configuration_says_the_same_as_single_settings(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any]
):
    config = GenerationConfig(**words, pad_token_id=0)
    before = config.to_dict()
    assert torch.equal(model.generate(**prompts, generation_config=config), model.generate(**prompts, **words))
    assert config.to_dict() == before


def test_a_call_leaves_the_models_own_settings_as_they_were(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any]
):
    before, usual = model.generation_config.to_dict(), model.generate(**prompts, **words)
    model.generate(**prompts, do_sample=True, temperature=3.0, num_beams=2, max_new_tokens=2, min_new_tokens=1)
    assert model.generation_config.to_dict() == before
    assert torch.equal(model.generate(**prompts, **words), usual)


def test_the_models_own_settings_are_heard(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    model.generation_config.update(do_sample=False, max_new_tokens=3, min_new_tokens=3)
    assert answers(model, prompts).shape[1] == 3
    model.generation_config = GenerationConfig(max_new_tokens=2, min_new_tokens=2, pad_token_id=0)
    assert answers(model, prompts).shape[1] == 2


def test_words_that_nobody_reads_are_refused(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    with pytest.raises(ValueError, match="not_a_setting"):
        model.generate(**prompts, **GREEDY, not_a_setting=1)


def test_the_last_logits_alone_are_those_of_all(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    with torch.no_grad():
        every = model(**prompts).logits
        for kept, expected in ((1, every[:, -1:]), (3, every[:, -3:]), (torch.tensor([0, 4]), every[:, [0, 4]])):
            torch.testing.assert_close(model(**prompts, logits_to_keep=kept).logits, expected, rtol=1e-5, atol=1e-5)


def test_a_tuple_holds_what_a_record_holds(model: FaceGPTForConditionalGeneration, prompts: Inputs):
    with torch.no_grad():
        record, values = model(**prompts), model(**prompts, return_dict=False)
    assert isinstance(values, tuple)
    for one, two in zip(record.to_tuple(), values, strict=True):
        if isinstance(one, Tensor):
            assert torch.equal(one, two)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_a_row_is_answered_as_if_it_were_alone(
    model: FaceGPTForConditionalGeneration, prompts: Inputs, words: dict[str, Any], settings: dict[str, Any]
):
    together = answers(model, prompts, **words, **settings)
    for row in range(2):
        alone = {name: value[row : row + 1] for name, value in prompts.items()}
        assert torch.equal(answers(model, alone, **words, **settings)[0], together[row])


def test_prompts_of_words_alone_are_answered(
    model: FaceGPTForConditionalGeneration, processor: FaceGPTProcessor, words: dict[str, Any]
):
    questions = ("Hello.", "What can you do for me?")
    messages = [[{"role": "user", "content": [{"type": "text", "text": text}]}] for text in questions]
    inputs = processor(messages=messages)
    answer = answers(model, dict(inputs), **words)
    assert answer.shape == (2, NEW_TOKENS)
    true = log_probabilities(model, dict(inputs), answer, words["suppress_tokens"])
    assert true.isfinite().all()
