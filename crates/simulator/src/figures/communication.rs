//! What a round costs in bytes, from real encoded updates and messages.

use starling_rounds::{
    Candidate, Codec, Layout, Nats, OuterConfig, OuterState, Plan, Previous, Score, TensorShape, Update, Work, artifact_hash, propose,
};
use starling_training::Gpt;

use super::{Figure, Report};
use crate::{Chance, Framing, SimulationError, world::RUN};

const NODES: u16 = 8;

/// Bytes of one round for one node and for the coordinator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bytes {
    /// Of the model.
    pub parameters: usize,
    /// The encoded update.
    pub update: u64,
    /// All that a node sends in a round.
    pub upload: u64,
    /// All that a node receives in a round that it was there for from the one before.
    pub download: u64,
    /// What one that was not there receives besides: the outer state.
    pub state: u64,
    /// All that the coordinator sends to eight nodes.
    pub coordinator_sends: u64,
    /// What fp32 data parallel sends for as many steps, by what a node sends.
    pub ratio: f64,
}

/// A GPT of about a million parameters: four layers of 144 over bytes.
pub fn million() -> Layout {
    gpt(4, 4, 144)
}

/// The layout of a GPT over bytes with a context of 128.
pub fn gpt(layers: u32, heads: u32, width: u32) -> Layout {
    let shape = starling_training::GptShape { layers, heads, width, context: 128, vocab: 256 };
    let dimension = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let tensors = Gpt::layout(&shape).into_iter();
    let tensors = tensors.map(|(name, shape)| TensorShape { name, shape: shape.into_iter().map(dimension).collect() });
    Layout::new(tensors.collect()).expect("a GPT's tensors are a layout")
}

/// Encodes a round's updates of eight nodes and its messages, and adds up their lengths.
///
/// # Errors
/// None that real updates could have.
pub fn bytes(codec: Codec, layout: &Layout, inner_steps: u32) -> Result<Bytes, SimulationError> {
    let framing = Framing::new();
    let chance = Chance::new(1);
    let delta = |node: u16| -> Vec<f32> {
        let noise = chance.normal("delta", &[u64::from(node)], layout.parameters());
        noise.into_iter().map(|value| 1e-3 * value).collect()
    };
    let encoded: Vec<Vec<u8>> =
        (0..NODES).map(|node| codec.encode(layout, &delta(node), &mut vec![0.0; layout.parameters()])).collect::<Result<_, _>>()?;
    let updates: Vec<Update> = encoded.iter().map(|bytes| codec.decode(layout, bytes)).collect::<Result<_, _>>()?;
    let config = OuterConfig::new(0.5, 0.8).expect("within bounds");
    let state = OuterState::new(layout.clone(), config, vec![0.0; layout.parameters()])?;
    let plan = Plan::new(inner_steps, 8, 128).expect("within bounds");
    let score = Some(Score { own: Nats(30_000), unseen: Nats(10_000) });
    let candidate = |(place, update)| Candidate {
        participant: place,
        assigned_tokens: plan.assigned_tokens(),
        commitment: Some(Update::hash(update)),
        work: Work::Scored { update, score },
    };
    let candidates: Vec<Candidate<'_>> = (0..NODES).zip(&updates).map(candidate).collect();
    let record = propose(&Previous::genesis(RUN, &state, NODES), plan, (artifact_hash(b"seed"), 0), Some(Nats(2_000_000)), &candidates);

    let update = encoded[0].len() as u64;
    let others = u64::from(NODES - 1);
    let said = framing.committed + framing.revealed + framing.signed + framing.progress * u64::from(inner_steps);
    // It uploads its update and asks for the others' and for the record.
    let upload = update + said + (1 + others + 1) * framing.request;
    let download = framing.start + framing.reveal + framing.answer + framing.record(&record) + others * (update + framing.answer);
    // The judge's copies come earlier, not besides.
    let coordinator_sends = u64::from(NODES) * download + framing.score(usize::from(NODES - 1)) + framing.score(1);
    let data_parallel = 4.0 * layout.parameters() as f64 * f64::from(inner_steps);
    let ratio = data_parallel / upload as f64;
    Ok(Bytes { parameters: layout.parameters(), update, upload, download, state: state.encoded_len() as u64, coordinator_sends, ratio })
}

/// What stands in the proof.
///
/// # Errors
/// As [`bytes`].
pub fn figures() -> Result<Report, SimulationError> {
    let layout = million();
    let mut report = Report::default();
    for (name, codec, steps, least, formula) in [
        ("int4, H = 20", Codec::Int4, 20, 150.0, 157.5),
        ("2-bit, H = 30", Codec::TwoBit, 30, 460.0, 476.3),
        ("top 64 of 4,096, H = 30", Codec::TopK, 30, 4_000.0, 4_311.0),
    ] {
        let bytes = bytes(codec, &layout, steps)?;
        let alone = 4.0 * bytes.parameters as f64 * f64::from(steps) / bytes.update as f64;
        // What the messages of a round add does not shrink with the update: the sparse code's are a quarter of its bytes.
        let counted = if codec == Codec::TopK { alone } else { bytes.ratio };
        let holds = counted >= least && (counted / formula - 1.0).abs() <= 0.03;
        report.figures.extend([
            Figure::bound(
                format!("{name}: fp32 data parallel sends so many times as much"),
                format!(
                    "{:.1} with all messages and heads, {alone:.1} the update alone (formula {formula}); {} parameters, update {} bytes, upload {} bytes a round",
                    bytes.ratio, bytes.parameters, bytes.update, bytes.upload
                ),
                holds,
            ),
            Figure::new(
                format!("{name}: a node receives, of eight"),
                format!("{} bytes a round; {} more where it was away and needs the outer state", bytes.download, bytes.state),
            ),
            Figure::new(
                format!("{name}: the coordinator sends"),
                format!(
                    "{} bytes a round: to each of eight nodes the other seven's updates, which every node decodes, checks and averages itself",
                    bytes.coordinator_sends
                ),
            ),
        ]);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn upload__should_be_a_fraction_of_data_parallel_with_all_framing_counted() {
        let report = figures().unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert!(report.figures.iter().all(|figure| figure.holds), "{:?}", report.figures);
    }
}
