"""One model in training with PyTorch, measured on request: the other half of `cargo xtask bench training`.

    python speed.py CASE MODE    MODE is eager, compile or bf16 (compiled, with autocast)

Cases, lines of the protocol and their units are those of `benches/training.rs`. Attention is scaled_dot_product_attention,
the optimizer the fused AdamW; two threads.
"""

import contextlib
import os
import sys
import time

import torch
import transformers
from torch import nn
from torch.nn import functional

CLIP = 1.0


class Lora(nn.Module):
    """A frozen linear layer with an adapter of rank 8."""

    def __init__(self, base, rank=8, alpha=16.0):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.scale * self.up(self.down(x))


class Block(nn.Module):
    def __init__(self, width, heads, adapted):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        if adapted:
            self.requires_grad_(False)
            self.qkv = Lora(self.qkv)

    def forward(self, x):
        windows, context, width = x.shape
        split = lambda part: part.view(windows, context, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = map(split, self.qkv(self.ln_1(x)).split(width, dim=2))
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(windows, context, width))
        return x + self.proj(functional.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, layers, heads, width, context, vocab=256, adapted=False):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.ln_f = nn.LayerNorm(width)
        for module in (self.wte, self.wpe, self.ln_f):
            module.requires_grad_(not adapted)
        self.blocks = nn.ModuleList(Block(width, heads, adapted) for _ in range(layers))
        for embedding in (self.wte, self.wpe):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe.weight
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.ln_f(x), self.wte.weight).flatten(0, 1)


class BertMini(nn.Module):
    def __init__(self):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=30522, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024,
            max_position_embeddings=128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2,
            attn_implementation="sdpa",
        )
        self.model = transformers.BertForSequenceClassification(config)

    def forward(self, tokens):
        return self.model(input_ids=tokens).logits


# Model, windows, context, vocabulary, the greatest product of a block (inner, columns).
CASES = {
    "gpt-1m": (lambda: Gpt(5, 4, 128, 128), 16, 128, 256, (128, 512)),
    "gpt-10m": (lambda: Gpt(6, 6, 384, 256), 8, 256, 256, (384, 1536)),
    "bert-mini": (BertMini, 16, 128, 30522, (256, 1024)),
    "gpt-10m-lora": (lambda: Gpt(6, 6, 384, 256, adapted=True), 8, 256, 256, (384, 1536)),
}


def status(field):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(field))


def main(name, mode):
    torch.manual_seed(1)
    torch.set_num_threads(2)
    make, windows, context, vocab, (inner, columns) = CASES[name]
    model = make()
    tokens = ((torch.arange(windows * context + 1) * 2654435761) % 2**32 % vocab).long()
    inputs = tokens[:-1].view(windows, context)
    targets = torch.arange(windows) % 2 if name == "bert-mini" else tokens[1:]
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=3e-4, betas=(0.9, 0.98), fused=True)
    run = model if mode == "eager" else torch.compile(model)
    cast = (lambda: torch.autocast("cpu", torch.bfloat16)) if mode == "bf16" else contextlib.nullcontext

    def step(seconds):
        start = time.perf_counter()
        with cast():
            loss = functional.cross_entropy(run(inputs).float(), targets)
        value = loss.item()
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for index, part in enumerate([forward - start, backward - forward, time.perf_counter() - backward]):
            seconds[index] += part
        return value

    resident = status("VmRSS:")
    if mode != "eager":
        # What is compiled is compiled here, and is no part of the memory that a step needs.
        step([0.0] * 3)
        optimizer.state.clear()
        resident = status("VmRSS:")
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    print("ready", sum(p.numel() for p in trained), windows * context, 0, flush=True)
    for line in sys.stdin:
        match line.split():
            case ["steps", count]:
                seconds = [0.0] * 3
                for _ in range(int(count)):
                    loss = step(seconds)
                print(*seconds, loss, flush=True)
            case ["kernel", count]:
                x, weight = torch.ones(windows * context, inner), torch.ones(columns, inner)
                start = time.perf_counter()
                for _ in range(int(count)):
                    functional.linear(x, weight)
                print(2 * windows * context * inner * columns * int(count) / (time.perf_counter() - start), flush=True)
            case ["memory"]:
                print(resident, status("VmHWM:"), flush=True)
            case _:
                sys.exit(f"{line!r} is not understood")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in CASES or sys.argv[2] not in ("eager", "compile", "bf16"):
        sys.exit(__doc__)
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main(*sys.argv[1:])
