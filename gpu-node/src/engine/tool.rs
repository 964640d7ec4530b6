//! Runs a declarative research tool on a model: prompts and an evaluation, never code.

use super::{EngineError, Gate, Piece, figures::readable, generate::Stopwatch};
use crate::trainer::Cancel;
use starling_http_api::job::{Measure, Probe, ProbeAnswer, ToolReport, ToolSpec};
use starling_training::{Decoder, Sampling, TrainingError, Writer};
use std::{f64::consts::LN_2, time::Instant};

const MAX_PROBES: usize = 64;
const MAX_PROMPT_BYTES: usize = 4 * 1024;
const MAX_WRONG: usize = 8;
const MAX_SAMPLE_TOKENS: u32 = 2_048;

/// A tool to run.
pub(crate) struct ToolJob {
    /// The tool's file.
    pub(crate) tool: ToolSpec,
    /// What is probed.
    pub(crate) writer: Writer,
    /// Metered time of the last statement before a restart.
    pub(crate) before_ms: u64,
    /// The model was seen working: the stopwatch stands while more than this is unsigned.
    pub(crate) unsigned_limit_ms: u64,
}

/// Reads a tool and refuses what is outside its limits.
pub(crate) fn check_tool(bytes: &[u8]) -> Result<ToolSpec, EngineError> {
    let tool: ToolSpec = serde_json::from_slice(bytes).map_err(|error| bad(format!("the tool is not understood: {error}")))?;
    if tool.version != 1 {
        return Err(bad(format!("the tool has version {}, this node runs version 1", tool.version)));
    }
    if !(1..=MAX_PROBES).contains(&tool.probes.len()) {
        return Err(bad(format!("a tool has 1 to {MAX_PROBES} probes, not {}", tool.probes.len())));
    }
    for probe in &tool.probes {
        let sane = |text: &String| (1..=MAX_PROMPT_BYTES).contains(&text.len());
        let measure_fits = match &probe.measure {
            Measure::BitsPerByte { continuation } => sane(continuation),
            Measure::Prefers { right, wrong } => sane(right) && (1..=MAX_WRONG).contains(&wrong.len()) && wrong.iter().all(sane),
            Measure::Sample { tokens } => (1..=MAX_SAMPLE_TOKENS).contains(tokens),
        };
        if probe.prompt.len() > MAX_PROMPT_BYTES || !measure_fits {
            return Err(bad("a probe of the tool is outside its limits".to_owned()));
        }
    }
    Ok(tool)
}

/// Answers each probe; the report in JSON is the output, given whole at the end.
pub(crate) fn run_tool(job: &ToolJob, gate: &Gate, cancel: &Cancel, mut give: impl FnMut(Piece)) -> Result<(), EngineError> {
    let mut watch = Stopwatch::new(job.before_ms);
    let mut answers = Vec::with_capacity(job.tool.probes.len());
    for (index, probe) in job.tool.probes.iter().enumerate() {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let began = Instant::now();
        answers.push(answer(&job.writer, probe)?);
        let worked = began.elapsed();
        let (units, metered_ms) = (u64::try_from(index + 1).unwrap_or(u64::MAX), watch.so_far_ms());
        give(Piece { bytes: Vec::new(), units, metered_ms });
        gate.wait_below(metered_ms, job.unsigned_limit_ms, cancel)?;
        cancel.between_steps(worked)?;
        watch.pause_until_now();
    }
    let report = report(answers);
    let bytes = serde_json::to_vec_pretty(&report).map_err(|error| bad(error.to_string()))?;
    give(Piece { bytes, units: u64::try_from(job.tool.probes.len()).unwrap_or(u64::MAX), metered_ms: watch.so_far_ms() });
    Ok(())
}

fn answer(writer: &Writer, probe: &Probe) -> Result<ProbeAnswer, EngineError> {
    match &probe.measure {
        Measure::BitsPerByte { continuation } => Ok(ProbeAnswer::BitsPerByte(bits_per_byte(writer, &probe.prompt, continuation)?)),
        Measure::Prefers { right, wrong } => {
            let of_right = bits_per_byte(writer, &probe.prompt, right)?;
            for other in wrong {
                if bits_per_byte(writer, &probe.prompt, other)? <= of_right {
                    return Ok(ProbeAnswer::Preferred(false));
                }
            }
            Ok(ProbeAnswer::Preferred(true))
        }
        Measure::Sample { tokens } => {
            let greedy = Sampling { temperature: 0.0, top_k: 1, seed: 0 };
            let pieces = writer.write(probe.prompt.as_bytes(), greedy)?;
            let pieces = pieces.take(usize::try_from(*tokens).unwrap_or(0)).collect::<Result<Vec<_>, _>>()?;
            Ok(ProbeAnswer::Sample(readable(&pieces.concat())))
        }
    }
}

/// Mean of `-log2 p` over the bytes of `continuation`, each of its tokens after all that stands before it within the model's context.
fn bits_per_byte(writer: &Writer, prompt: &str, continuation: &str) -> Result<f64, EngineError> {
    let mut decoder = Decoder::new(writer.model())?;
    let tokens = |text: &str| writer.tokenizer().encode(text.as_bytes());
    let prompt = tokens(if prompt.is_empty() { "\n" } else { prompt });
    let mut logits = Vec::new();
    for token in &prompt[prompt.len().saturating_sub(decoder.context())..] {
        logits = decoder.feed(*token)?;
    }
    let mut nats = 0.0;
    for token in tokens(continuation) {
        nats -= log_probability(&logits, token);
        logits = decoder.feed(token)?;
    }
    Ok(nats / LN_2 / continuation.len() as f64)
}

fn log_probability(logits: &[f32], token: u32) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    let logit = usize::try_from(token).ok().and_then(|place| logits.get(place));
    logit.map_or(f64::NEG_INFINITY, |logit| f64::from(logit - greatest) - total.ln())
}

fn report(answers: Vec<ProbeAnswer>) -> ToolReport {
    let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let bits = answers.iter().filter_map(|answer| if let ProbeAnswer::BitsPerByte(bits) = answer { Some(*bits) } else { None });
    let right = answers
        .iter()
        .filter_map(|answer| if let ProbeAnswer::Preferred(right) = answer { Some(f64::from(u8::from(*right))) } else { None });
    let (bits_per_byte, accuracy) = (mean(bits.collect()), mean(right.collect()));
    ToolReport { answers, bits_per_byte, accuracy }
}

fn bad(reason: String) -> EngineError {
    TrainingError::BadRequest(reason).into()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_training::{Model, Recipe};
    use std::collections::BTreeMap;

    fn run(probes: Vec<Probe>) -> ToolReport {
        let recipe = Recipe::preset("tiny").unwrap();
        let model = starling_training::export_model(&recipe, &Model::initial(&recipe, None).unwrap(), &BTreeMap::new()).unwrap();
        let writer = crate::engine::load_writer(&model.safetensors).unwrap();
        let tool = check_tool(&serde_json::to_vec(&ToolSpec { version: 1, probes }).unwrap()).unwrap();
        let job = ToolJob { tool, writer, before_ms: 0, unsigned_limit_ms: 60_000 };
        let mut output = Vec::new();
        run_tool(&job, &Gate::default(), &Cancel::default(), |piece| output.extend(piece.bytes)).unwrap();
        serde_json::from_slice(&output).unwrap()
    }

    fn probe(measure: Measure) -> Probe {
        Probe { prompt: "fn ".to_owned(), measure }
    }

    #[test]
    fn tool__should_answer_each_probe_in_order() {
        let report = run(vec![
            probe(Measure::BitsPerByte { continuation: "main() {}".to_owned() }),
            probe(Measure::Prefers { right: "a".to_owned(), wrong: vec!["a".to_owned()] }),
            probe(Measure::Sample { tokens: 12 }),
        ]);
        assert!((report.bits_per_byte.unwrap() - 8.0).abs() < 1.0, "an untrained model is near uniform");
        assert_eq!(report.accuracy, Some(0.0), "what is not likelier is not preferred");
        assert!(matches!(report.answers[..], [ProbeAnswer::BitsPerByte(_), ProbeAnswer::Preferred(false), ProbeAnswer::Sample(_)]));
    }

    #[test]
    fn prefers__should_follow_the_model() {
        let ends =
            ["x", "y"].map(|text| (run(vec![probe(Measure::BitsPerByte { continuation: text.to_owned() })]).bits_per_byte.unwrap(), text));
        let (right, wrong) = if ends[0].0 < ends[1].0 { (ends[0].1, ends[1].1) } else { (ends[1].1, ends[0].1) };
        let report = run(vec![probe(Measure::Prefers { right: right.to_owned(), wrong: vec![wrong.to_owned()] })]);
        assert_eq!(report.accuracy, Some(1.0));
    }

    #[test]
    fn check_tool__should_refuse_what_is_outside_its_limits() {
        let refused = |tool: &str| check_tool(tool.as_bytes()).unwrap_err().to_string();
        assert!(refused("{}").contains("not understood"));
        assert!(refused(r#"{"version":2,"probes":[]}"#).contains("version 2"));
        assert!(refused(r#"{"version":1,"probes":[]}"#).contains("1 to 64"));
        assert!(refused(r#"{"version":1,"probes":[{"prompt":"a","measure":{"sample":{"tokens":0}}}]}"#).contains("limits"));
        assert!(refused(r#"{"version":1,"probes":[{"prompt":"a","measure":{"shell":{"command":"ls"}}}]}"#).contains("not understood"));
    }
}
