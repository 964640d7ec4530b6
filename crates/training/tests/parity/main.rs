//! Each model against what PyTorch, `transformers` and PEFT computed from the same weights and batches
//! (`reference/reference.py` wrote the files): logits, loss, every gradient, and a curve of training.
//!
//! With `STARLING_EXPORT=FOLDER` each trained model and its logits are written there, for `reference.py load FOLDER`.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod reference;

use reference::{Batch, Reference, Update, adamw, muon};
use starling_training::{
    Bert, BertHead, Convolution, Device, Gpt, Layout, Leaves, Llama, Lora, LoraShape, Parameters, Perceptron, Result, Tape, Texts, Value,
    Weights, layout_of,
};

#[test]
fn gpt__should_train_as_in_transformers() {
    let reference = Reference::read("gpt");
    let shape = Gpt::read_config(&reference.config).expect("our GPT");
    let model = Gpt::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
        model.logits(tape, leaves, &batch.ids("tokens"), shape.context as usize) // (windows * context, vocab)
    };
    compare_whole(&reference, model.weights(), &Gpt::config_json(&shape), adamw, logits);
}

#[test]
fn llama__should_train_as_in_transformers() {
    let reference = Reference::read("llama");
    let shape = Llama::read_config(&reference.config).expect("our Llama");
    assert_eq!((shape.heads, shape.key_heads, shape.head, shape.tied), (4, 2, 6, false));
    let model = Llama::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
        model.logits(tape, leaves, &batch.ids("tokens"), shape.context as usize) // (windows * context, vocab)
    };
    compare_whole(&reference, model.weights(), &Llama::config_json(&shape), adamw, logits);
}

#[test]
fn bert__should_learn_classes_as_in_transformers() {
    let reference = Reference::read("bert-classes");
    let shape = Bert::read_config(&reference.config).expect("our BERT");
    assert_eq!(shape.head, BertHead::Classes(3));
    let model = Bert::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| model.classify(tape, leaves, &texts(batch)); // (texts, classes)
    compare_whole(&reference, model.weights(), &Bert::config_json(&shape), adamw, logits);
}

#[test]
fn bert__should_learn_masked_tokens_as_in_transformers() {
    let reference = Reference::read("bert-masked");
    let shape = Bert::read_config(&reference.config).expect("our BERT");
    let model = Bert::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
        model.predict_masked(tape, leaves, &texts(batch), &batch.ids("places")) // (places, vocab)
    };
    compare_whole(&reference, model.weights(), &Bert::config_json(&shape), adamw, logits);
}

#[test]
fn perceptron__should_train_as_in_pytorch_with_adamw_and_with_muon() {
    for (name, optimizer) in [("perceptron", adamw as fn(&Weights) -> Update), ("perceptron-muon", muon)] {
        let reference = Reference::read(name);
        let shape = Perceptron::read_config(&reference.config).expect("our perceptron");
        let model = Perceptron::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
        let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
            model.logits(tape, leaves, &Value::constant(batch.floats("rows")?)) // (rows, classes)
        };
        compare_whole(&reference, model.weights(), &Perceptron::config_json(&shape), optimizer, logits);
    }
}

#[test]
fn convolution__should_train_as_in_pytorch() {
    let reference = Reference::read("convolution");
    let shape = Convolution::read_config(&reference.config).expect("our net");
    let model = Convolution::new(&shape, &reference.weights, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| model.logits(tape, leaves, &batch.floats("images")?); // (images, classes)
    compare_whole(&reference, model.weights(), &Convolution::config_json(&shape), adamw, logits);
}

#[test]
fn lora__should_train_a_gpt_as_in_peft() {
    let reference = Reference::read("gpt-lora");
    let shape = Gpt::read_config(&reference.config).expect("our GPT");
    let model = Gpt::new(&shape, &reference.base, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
        model.logits(tape, leaves, &batch.ids("tokens"), shape.context as usize) // (windows * context, vocab)
    };
    let adapters = LoraShape { fan_in_fan_out: true, ..adapters(&["c_attn"], &[]) };
    compare_adapted(&reference, model.weights(), &Gpt::config_json(&shape), (&adapters, "CAUSAL_LM"), logits);
}

#[test]
fn lora__should_train_a_llama_as_in_peft() {
    let reference = Reference::read("llama-lora");
    let shape = Llama::read_config(&reference.config).expect("our Llama");
    assert!(shape.tied);
    let model = Llama::new(&shape, &reference.base, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| {
        model.logits(tape, leaves, &batch.ids("tokens"), shape.context as usize) // (windows * context, vocab)
    };
    let adapters = adapters(&["q_proj", "v_proj", "down_proj"], &[]);
    compare_adapted(&reference, model.weights(), &Llama::config_json(&shape), (&adapters, "CAUSAL_LM"), logits);
}

#[test]
fn lora__should_train_a_bert_and_its_whole_classifier_as_in_peft() {
    let reference = Reference::read("bert-lora");
    let shape = Bert::read_config(&reference.config).expect("our BERT");
    let model = Bert::new(&shape, &reference.base, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves, batch: &Batch<'_>| model.classify(tape, leaves, &texts(batch)); // (texts, classes)
    let adapters = adapters(&["query", "value"], &["classifier"]);
    compare_adapted(&reference, model.weights(), &Bert::config_json(&shape), (&adapters, "SEQ_CLS"), logits);
}

/// A model that trains whole.
fn compare_whole(
    reference: &Reference,
    weights: &Weights,
    config_json: &str,
    optimizer: fn(&Weights) -> Update,
    logits: impl Fn(&Tape, &Leaves, &Batch<'_>) -> Result<Value>,
) {
    let forward = |tape: &Tape, batch: &Batch<'_>| {
        let leaves = weights.leaves(tape);
        Ok((logits(tape, &leaves, batch)?, leaves))
    };
    reference.compare(weights, forward, optimizer);
    let model = starling_training::model_files(config_json.to_owned(), &weights.parameters().expect("readable"));
    reference.export(forward, &[("model.safetensors", &model.safetensors), ("config.json", model.config_json.as_bytes())]);
}

/// A frozen model below adapters, which then are merged into it.
fn compare_adapted(
    reference: &Reference,
    base: &Weights,
    config_json: &str,
    (shape, task): (&LoraShape, &str),
    logits: impl Fn(&Tape, &Leaves, &Batch<'_>) -> Result<Value>,
) {
    let layout: Layout = layout_of(&reference.base);
    let lora = Lora::new(shape, &layout, &reference.weights, &Device::Cpu).expect("fits");
    let forward = |tape: &Tape, batch: &Batch<'_>| {
        let leaves = lora.leaves(tape, base)?;
        Ok((logits(tape, &leaves, batch)?, leaves))
    };
    reference.compare(lora.weights(), forward, adamw);

    let frozen: Parameters = base.parameters().expect("readable");
    assert_eq!(frozen, reference.base, "the base has not changed");
    let merged = Weights::new(layout, &lora.merged(&frozen).expect("fits"), &Device::Cpu).expect("fits");
    let merged = |tape: &Tape, batch: &Batch<'_>| {
        let leaves = merged.leaves(tape);
        Ok((logits(tape, &leaves, batch)?, leaves))
    };
    let pairs = reference.logits(forward).into_iter().zip(reference.logits(merged));
    assert!(pairs.into_iter().all(|(adapted, merged)| (adapted - merged).abs() < 1e-5), "merging changes nothing");

    let model = starling_training::model_files(config_json.to_owned(), &frozen);
    let (adapter, adapter_config) = lora.files(task, "..").expect("readable");
    let files: [(&str, &[u8]); 4] = [
        ("model.safetensors", &model.safetensors),
        ("config.json", model.config_json.as_bytes()),
        ("adapter/adapter_model.safetensors", &adapter),
        ("adapter/adapter_config.json", adapter_config.as_bytes()),
    ];
    reference.export(forward, &files);
}

fn adapters(targets: &[&str], whole: &[&str]) -> LoraShape {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    LoraShape { rank: 2, alpha: 3.0, targets: names(targets), whole: names(whole), fan_in_fan_out: false }
}

fn texts(batch: &Batch<'_>) -> Texts {
    let lengths = batch.ids("lengths").iter().map(|length| *length as usize).collect();
    Texts { tokens: batch.ids("tokens"), lengths, context: 12 }
}
