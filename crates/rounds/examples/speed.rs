//! Prints what one round costs a party per million parameters: `cargo run -p starling-rounds --example speed`.

use std::{error::Error, hint::black_box, time::Instant};

use starling_rounds::{
    Aggregator, CLIP_ONE, Codec, Layout, OuterConfig, OuterState, TensorShape, artifact_hash, norm, overlap, pseudo_gradient,
};

const PARAMETERS: u32 = 4 << 20;
const REPEATS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![PARAMETERS / 1_024, 1_024] }])?;
    let mut global = Vec::with_capacity(layout.parameters());
    while global.len() < layout.parameters() {
        let counter = u64::try_from(global.len())?;
        global.extend(artifact_hash(&counter.to_le_bytes()).0.map(|byte| f32::from(byte) / 128.0 - 1.0));
    }
    let local: Vec<f32> = global.iter().map(|weight| weight * 0.99).collect();
    let delta = pseudo_gradient(&global, &local)?;
    let mut feedback = vec![0.0; delta.len()];
    let bytes = Codec::Int4.encode(&layout, &delta, &mut feedback)?;
    let update = Codec::Int4.decode(&layout, &bytes)?;
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8)?, global)?;
    let checkpoint = state.to_bytes();
    println!("{} bytes per update, {:.3} bits per parameter", bytes.len(), 8.0 * bytes.len() as f64 / f64::from(PARAMETERS));
    assert_eq!(bytes.len(), Codec::Int4.encoded_len(&layout));

    measure("encode", || black_box(Codec::Int4.encode(&layout, &delta, &mut feedback)).is_ok());
    measure("decode", || black_box(Codec::Int4.decode(&layout, &bytes)).is_ok());
    measure("norm", || black_box(norm(&update)) > 0);
    measure("overlap of two", || black_box(overlap(&update, &update)) > 0);
    measure("mean of one", || {
        let mut mean = Aggregator::new(&layout);
        mean.add(0, &update, 1_000, CLIP_ONE).is_ok() && black_box(mean.finish()).is_some()
    });
    let mut stepped = state.clone();
    measure("outer step", || stepped.step(Some(&delta), 1).is_ok());
    measure("state root", || black_box(state.root()).0 != [0; 32]);
    measure("checkpoint out", || !black_box(state.to_bytes()).is_empty());
    measure("checkpoint in", || black_box(OuterState::from_bytes(&checkpoint)).is_ok());
    Ok(())
}

/// Prints the mean time of a call, for a million parameters.
fn measure(what: &str, mut work: impl FnMut() -> bool) {
    let started = Instant::now();
    assert!((0..REPEATS).all(|_| work()), "{what} failed");
    let per_million = started.elapsed().as_secs_f64() / f64::from(REPEATS) / f64::from(PARAMETERS) * 1e6;
    println!("{what}: {:.2} ms per million parameters", 1e3 * per_million);
}
