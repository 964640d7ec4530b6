"""What PyTorch, transformers and PEFT make of each model: weights, a loss, its gradients, logits and a curve of training.

    python reference.py write FOLDER    one small safetensors file for each model, read by tests/parity.rs
    python reference.py load FOLDER     loads what STARLING_EXPORT=FOLDER made the tests write; compares the logits

All of it in float32 on the CPU with one thread. Arrays in a file:
`weight/NAME` of what trains and `base/NAME` of what is frozen below an adapter, `gradient/NAME` of the first batch,
`input/NAME` of BATCHES batches, `logits` of the first batch, `losses` of STEPS steps with AdamW (or Muon). Its metadata holds the
model's `config.json`.
"""

import json
import pathlib
import sys

import numpy
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

BATCHES = 4
STEPS = 200
WARMUP = 20
PEAK = 3e-4


class Case:
    """A model, what it reads, and `run(model, batch)`: logits (rows, classes)."""

    def __init__(self, model, inputs, run, config=None, muon=False):
        self.model, self.inputs, self.run, self.muon = model, inputs, run, muon
        self.config = config or model.config.to_dict()

    def batch(self, step):
        return {name: values[step % BATCHES] for name, values in self.inputs.items()}

    def loss(self, batch):
        return functional.cross_entropy(self.run(self.model, batch), batch["targets"].reshape(-1).long())


def integers(generator, low, high, *shape):
    return torch.from_numpy(generator.integers(low, high, (BATCHES, *shape), dtype=numpy.int32))


def floats(generator, *shape):
    return torch.from_numpy(generator.standard_normal((BATCHES, *shape), dtype=numpy.float32))


def next_tokens(generator, vocab):
    return {"tokens": integers(generator, 0, vocab, 3, 12), "targets": integers(generator, 0, vocab, 3, 12)}


def all_logits(model, batch):
    return model(batch["tokens"].long()).logits.flatten(0, 1)


def gpt(generator):
    config = transformers.GPT2Config(
        vocab_size=40, n_positions=12, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        attn_implementation="eager", bos_token_id=10, eos_token_id=10,
    )
    return Case(transformers.GPT2LMHeadModel(config), next_tokens(generator, 40), all_logits)


def llama_config(layers, tied):
    return transformers.LlamaConfig(
        vocab_size=40, max_position_embeddings=12, hidden_size=16, intermediate_size=24, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=6, tie_word_embeddings=tied, rope_theta=10000.0,
        attn_implementation="eager", bos_token_id=1, eos_token_id=2,
    )


def llama(generator):
    return Case(transformers.LlamaForCausalLM(llama_config(2, False)), next_tokens(generator, 40), all_logits)


def bert_config(layers, **more):
    return transformers.BertConfig(
        vocab_size=40, max_position_embeddings=12, hidden_size=16, intermediate_size=24, num_hidden_layers=layers,
        num_attention_heads=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager", **more,
    )


def texts(generator):
    # Token 0 is padding: transformers gives its embedding no gradient.
    return {"tokens": integers(generator, 1, 40, 3, 12), "lengths": integers(generator, 1, 13, 3)}


def real(batch):
    return {"input_ids": batch["tokens"].long(), "attention_mask": (torch.arange(12) < batch["lengths"][:, None]).long()}


def classes(model, batch):
    return model(**real(batch)).logits


def bert_classes(generator):
    config = bert_config(2, num_labels=3)
    config.architectures = ["BertForSequenceClassification"]
    inputs = texts(generator) | {"targets": integers(generator, 0, 3, 3)}
    return Case(transformers.BertForSequenceClassification(config), inputs, classes)


def bert_masked(generator):
    config = bert_config(1)
    config.architectures = ["BertForMaskedLM"]
    inputs = texts(generator) | {"places": integers(generator, 0, 36, 5), "targets": integers(generator, 0, 40, 5)}
    return Case(
        transformers.BertForMaskedLM(config), inputs,
        lambda model, batch: model(**real(batch)).logits.flatten(0, 1)[batch["places"].long()],
    )


class Perceptron(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        pairs = [nn.Linear(a, b) for a, b in zip(widths, widths[1:])]
        self.layers = nn.Sequential(*[layer for pair in pairs for layer in (pair, nn.ReLU())][:-1])

    def forward(self, rows):
        return self.layers(rows)


def perceptron(generator):
    config = {"model_type": "starling-perceptron", "features": 7, "hidden": [24, 16], "classes": 3}
    inputs = {"rows": floats(generator, 9, 7), "targets": integers(generator, 0, 3, 9)}
    return Case(Perceptron(7, 24, 16, 3), inputs, lambda model, batch: model(batch["rows"]), config)


def perceptron_muon(generator):
    case = perceptron(generator)
    case.muon = True
    return case


class Stage(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(out)

    def forward(self, images):
        return functional.relu(self.norm(self.convolution(images).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Convolution(nn.Module):
    def __init__(self, *channels, classes):
        super().__init__()
        self.stages = nn.ModuleList(Stage(a, b) for a, b in zip(channels, channels[1:]))
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, images):
        for stage in self.stages:
            images = stage(images)
        return self.classifier(images.mean((2, 3)))


def convolution(generator):
    config = {"model_type": "starling-convolution", "channels": 3, "stages": [8, 12], "classes": 4}
    inputs = {"images": floats(generator, 3, 3, 9, 8), "targets": integers(generator, 0, 4, 3)}
    return Case(Convolution(3, 8, 12, classes=4), inputs, lambda model, batch: model(batch["images"]), config)


def adapted(case, **more):
    """The model frozen below adapters of rank 2."""
    case.model = peft.get_peft_model(case.model, peft.LoraConfig(r=2, lora_alpha=3, lora_dropout=0.0, bias="none", **more))
    return case


def gpt_lora(generator):
    return adapted(gpt(generator), target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")


def llama_lora(generator):
    case = Case(transformers.LlamaForCausalLM(llama_config(1, True)), next_tokens(generator, 40), all_logits)
    return adapted(case, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")


def bert_lora(generator):
    return adapted(bert_classes(generator), target_modules=["query", "value"], modules_to_save=["classifier"], task_type="SEQ_CLS")


CASES = {
    "gpt": gpt,
    "llama": llama,
    "bert-classes": bert_classes,
    "bert-masked": bert_masked,
    "perceptron": perceptron,
    "convolution": convolution,
    "gpt-lora": gpt_lora,
    "llama-lora": llama_lora,
    "bert-lora": bert_lora,
    "perceptron-muon": perceptron_muon,
}


def names(model):
    """Name in files, and parameter: of what trains, and of what is frozen below an adapter."""
    trained, base = {}, {}
    for name, parameter in model.named_parameters():
        plain = name.replace(".default", "").replace(".modules_to_save", "")
        if parameter.requires_grad:
            trained[plain] = parameter
        else:
            base[plain.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")] = parameter
    return trained, base


def randomise(model, generator):
    """No array keeps a value that would hide an error: biases are not zero, norms not one."""
    for name, parameter in model.named_parameters():
        values = torch.from_numpy(generator.standard_normal(tuple(parameter.shape), dtype=numpy.float32))
        norm = parameter.dim() == 1 and name.endswith("weight")
        with torch.no_grad():
            parameter.copy_(1 + 0.1 * values if norm else 0.2 * values)


def orthogonalised(gradient, coefficients, steps, epsilon):
    """What torch.optim.Muon does in bfloat16, in the gradient's own precision."""
    turned = gradient.size(0) > gradient.size(1)
    x = gradient.T if turned else gradient
    x = x / x.norm().clamp(min=epsilon)
    a, b, c = coefficients
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if turned else x


def optimizers(case):
    trained = [p for p in case.model.parameters() if p.requires_grad]
    decayed, kept = [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1]
    adamw = {"betas": (0.9, 0.98), "eps": 1e-8}
    if not case.muon:
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, **adamw)]
    torch.optim._muon._zeropower_via_newtonschulz = orthogonalised
    muon = torch.optim.Muon(decayed, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(kept, weight_decay=0.0, **adamw)]


def curve(case):
    trained = [p for p in case.model.parameters() if p.requires_grad]
    all_optimizers = optimizers(case)
    for step in range(STEPS):
        for group in [group for optimizer in all_optimizers for group in optimizer.param_groups]:
            group["lr"] = PEAK * min((step + 1) / WARMUP, 1.0)
        case.model.zero_grad()
        loss = case.loss(case.batch(step))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        for optimizer in all_optimizers:
            optimizer.step()
        yield float(loss.detach())


def write(folder):
    for index, (name, make) in enumerate(CASES.items()):
        generator = numpy.random.default_rng([2026, index])
        case = make(generator)
        case.model.train()
        randomise(case.model, generator)
        trained, base = names(case.model)
        arrays = {f"input/{key}": values for key, values in case.inputs.items()}
        arrays |= {f"weight/{key}": p.detach().clone() for key, p in trained.items()}
        arrays |= {f"base/{key}": p.detach().clone() for key, p in base.items()}
        arrays["logits"] = case.run(case.model, case.batch(0)).detach().clone()
        case.loss(case.batch(0)).backward()
        arrays |= {f"gradient/{key}": p.grad.clone() for key, p in trained.items()}
        arrays["losses"] = torch.tensor(list(curve(case)), dtype=torch.float64)
        metadata = {"config": json.dumps(case.config), "torch": torch.__version__, "transformers": transformers.__version__}
        save_file({key: values.contiguous() for key, values in arrays.items()}, folder / f"{name}.safetensors", metadata)
        print(f"{name}: loss {arrays['losses'][0]:.6f} to {arrays['losses'][-1]:.6f}")


def loaded(name, model, folder):
    """The exported model, read as anyone would read it; nothing may be missing or unknown."""
    if isinstance(model, peft.PeftModel):
        base = loaded(name, model.get_base_model().__class__, folder)
        adapter = peft.PeftModel.from_pretrained(base, folder / "adapter")
        saved, held = load_file(folder / "adapter" / "adapter_model.safetensors"), peft.get_peft_model_state_dict(adapter)
        if saved.keys() != held.keys() or any(not torch.equal(saved[key], held[key]) for key in saved):
            sys.exit(f"{name}: the adapter holds something else than its file")
        return adapter
    kind = model if isinstance(model, type) else type(model)
    if issubclass(kind, transformers.PreTrainedModel):
        found, info = kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
        wrong = sorted(map(str, [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]))
        if wrong:
            sys.exit(f"{name}: {wrong} are missing or not known")
        return found
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def load(folder):
    for index, (name, make) in enumerate(CASES.items()):
        case = make(numpy.random.default_rng([2026, index]))
        model = loaded(name, case.model, folder / name).eval()
        expected = load_file(folder / name / "logits.safetensors")["logits"]
        found = case.run(model, case.batch(0)).detach()
        difference = float((found - expected).abs().max() / expected.abs().max())
        print(f"load {name}: logits within {difference:.1e} of the greatest")
        if found.shape != expected.shape or not difference <= 1e-5:
            sys.exit(f"{name}: the logits differ")


if __name__ == "__main__":
    torch.set_num_threads(1)
    commands = {"write": write, "load": load}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](pathlib.Path(sys.argv[2]))
