//! What the scores tell of work that was copied, halved or made from other data: verdicts and ROC, early and late in a run.

use starling_rounds::{
    Aggregator, CLIP_ONE, Codec, Cohort, PROBE_STEP, Refusal, Score, Share, Update, Verdict, artifact_hash, gate, probe_point,
    pseudo_gradient,
};
use starling_training::{Trainer, flatten, layout_of, unflatten};

use super::{Figure, Report, small_recipe};
use crate::{Behaviour, Chance, Learning, Reading, SimulationError, attack::craft, plot, work::Work};

const INNER_STEPS: u32 = 10;
const NODES: usize = 32;
/// A round's roster: each dishonest update is judged among so many less one honest ones.
const ROSTER: usize = 8;
/// Rounds over which a participant's gaps are added up for the last column.
const LONG: usize = 5;
const KINDS: [Behaviour; 3] = [Behaviour::Copied, Behaviour::Lazy, Behaviour::WrongData];

/// Scores of one kind, by measured round and participant.
type Scores = Vec<Vec<Score>>;

struct Phase {
    honest: Scores,
    dishonest: [Scores; 3],
}

/// Measures `rounds` rounds at the beginning of a run of 32 participants and as many after `between` others.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(rounds: u32, between: u32, text: &[u8]) -> Result<Report, SimulationError> {
    let recipe = small_recipe(2 * rounds + between, INNER_STEPS)?;
    let mut work = Learning::new(recipe, text, &[Reading::Assigned; NODES])?;
    let mut state = work.first_state();
    let mut feedback = vec![vec![0.0; state.weights().len()]; NODES];
    for node in 0..NODES {
        work.start(node, None)?;
    }
    let mut report = Report::default();
    let mut lines = Vec::new();
    for (phase, from, until) in [("early", 0, rounds), ("late", rounds + between, 2 * rounds + between)] {
        let mut measured = Phase { honest: Vec::new(), dishonest: Default::default() };
        while state.round() < until {
            let is_measured = state.round() >= from;
            round(&mut work, &mut state, &mut feedback, is_measured.then_some(&mut measured))?;
        }
        judge(phase, &measured, &mut report, &mut lines);
    }
    report.files.push((
        "detection.svg".to_owned(),
        plot::svg("Gap between own and unseen data: ROC", "honest called dishonest", "dishonest found", &lines),
    ));
    Ok(report)
}

/// A round in which all are honest; what dishonest ones would have sent is scored beside it.
fn round(
    work: &mut Learning,
    state: &mut starling_rounds::OuterState,
    feedback: &mut [Vec<f32>],
    measured: Option<&mut Phase>,
) -> Result<(), SimulationError> {
    let global = state.weights().to_vec();
    let (first, end) = (state.next_inner_step(), state.next_inner_step() + u64::from(INNER_STEPS));
    let middle = first + u64::from(INNER_STEPS / 2);
    let (mut honest, mut lazy, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for node in 0..NODES {
        if measured.is_some() {
            let before = work.checkpoint(node)?;
            let mut other = work.resumed(node, &before, Reading::Other)?;
            wrong.push(pseudo_gradient(&global, &trained(&mut other, &global, first..end)?)?);
        }
        work.load(node, &global)?;
        lazy.push(pseudo_gradient(&global, &work.train(node, first..middle)?)?);
        honest.push(pseudo_gradient(&global, &work.train(node, middle..end)?)?);
    }
    let updates = |deltas: &[Vec<f32>], feedback: &mut [Vec<f32>]| -> Result<Vec<Update>, SimulationError> {
        let layout = state.layout();
        deltas
            .iter()
            .zip(feedback)
            .map(|(delta, rest)| Ok(Codec::Int4.decode(layout, &Codec::Int4.encode(layout, delta, rest)?)?))
            .collect()
    };
    let sent = updates(&honest, feedback)?;
    if let Some(measured) = measured {
        let chance = Chance::new(u64::from(state.round()));
        let copied: Vec<Vec<f32>> = (0..NODES)
            .map(|node| craft(Behaviour::Copied, &honest[node], &[&honest[(node + 1) % NODES]], chance, &[node as u64]))
            .collect();
        let lazy: Vec<Vec<f32>> = lazy.iter().map(|delta| craft(Behaviour::Lazy, delta, &[], chance, &[])).collect();
        measured.honest.push(scores(work, &global, first..end, &sent)?);
        for (kind, deltas) in measured.dishonest.iter_mut().zip([copied, lazy, wrong]) {
            let updates = updates(&deltas, &mut vec![vec![0.0; global.len()]; NODES])?;
            kind.push(scores(work, &global, first..end, &updates)?);
        }
    }
    let mut mean = Aggregator::new(state.layout());
    for (node, update) in (0..).zip(&sent) {
        mean.add(node, update, 1, CLIP_ONE).map_err(starling_rounds::ApplyError::from)?;
    }
    state.step(mean.finish().as_deref(), INNER_STEPS)?;
    Ok(())
}

fn trained(trainer: &mut Trainer, global: &[f32], steps: std::ops::Range<u64>) -> Result<Vec<f32>, SimulationError> {
    let shapes = layout_of(&trainer.parameters()?);
    trainer.load_parameters(&unflatten(&shapes, global)?)?;
    trainer.seek(steps.start);
    for _ in steps {
        trainer.step()?;
    }
    Ok(flatten(&trainer.parameters()?))
}

fn scores(work: &mut Learning, global: &[f32], steps: std::ops::Range<u64>, updates: &[Update]) -> Result<Vec<Score>, SimulationError> {
    let seed = artifact_hash(&steps.start.to_le_bytes());
    let mut scores = Vec::new();
    for (node, update) in (0..).zip(updates) {
        let point = probe_point(global, update, PROBE_STEP)?;
        let score = work.score(global, &point, node, steps.clone(), &seed)?;
        scores.push(score.unwrap_or(Score::from_losses(0.0, 1e5, 0.0, 1e5).expect("within bounds")));
    }
    Ok(scores)
}

/// Verdicts and ROC of one phase.
fn judge(phase: &str, measured: &Phase, report: &mut Report, lines: &mut Vec<plot::Line>) {
    let honest: Vec<(Score, Cohort)> = judged(&measured.honest, &measured.honest);
    let refused = |all: &[(Score, Cohort)], only: Option<Refusal>| {
        let is = |(score, cohort): &&(Score, Cohort)| match gate(*score, Share::WHOLE, *cohort) {
            Verdict::Refuse(reason) => only.is_none_or(|wanted| wanted == reason),
            Verdict::Pass => false,
        };
        all.iter().filter(is).count()
    };
    let innocent = refused(&honest, None);
    report.figures.push(Figure::bound(
        format!("{phase}: honest updates refused"),
        format!("{innocent} of {}", honest.len()),
        innocent * 100 <= honest.len(),
    ));
    for (kind, scores) in KINDS.iter().zip(&measured.dishonest) {
        let all = judged(&measured.honest, scores);
        let gaps = |all: &[(Score, Cohort)]| -> Vec<f64> { all.iter().map(|(score, cohort)| gap(*score, *cohort)).collect() };
        let owns = |all: &[(Score, Cohort)]| -> Vec<f64> {
            all.iter().map(|(score, cohort)| score.own.to_f64() / cohort.own.to_f64().max(1e-9)).collect()
        };
        let curve = roc(&gaps(&honest), &gaps(&all));
        report.figures.push(Figure::new(
            format!("{phase}: {}", kind.name()),
            format!(
                "{} of {} refused ({} as copied); AUC {:.3} by the gap, {:.3} by the gap over {LONG} rounds, {:.3} by the drop on own data",
                refused(&all, None),
                all.len(),
                refused(&all, Some(Refusal::Copied)),
                area(&curve),
                area(&roc(&long(&gaps(&honest)), &long(&gaps(&all)))),
                area(&roc(&owns(&honest), &owns(&all))),
            ),
        ));
        lines.push(plot::Line { name: format!("{phase}: {} ({:.3})", kind.name(), area(&curve)), points: curve });
    }
}

/// The gap between own and unseen data in terms of what others gain.
fn gap(score: Score, cohort: Cohort) -> f64 {
    (score.gap().to_f64() - cohort.gap.to_f64()) / cohort.own.to_f64().max(1e-9)
}

/// Each suspect's score with what is usual among it and the other honest ones of its roster.
fn judged(honest: &Scores, suspects: &Scores) -> Vec<(Score, Cohort)> {
    let mut all = Vec::new();
    for (honest, suspects) in honest.iter().zip(suspects) {
        for (node, suspect) in suspects.iter().enumerate() {
            let first = node / ROSTER * ROSTER;
            let roster = (first..first + ROSTER).map(|other| (if other == node { *suspect } else { honest[other] }, Share::WHOLE));
            all.push((*suspect, Cohort::of(&roster.collect::<Vec<_>>())));
        }
    }
    all
}

/// Sums over five rounds of one participant each; rounds of all participants lie one after another.
fn long(values: &[f64]) -> Vec<f64> {
    values.chunks_exact(NODES * LONG).flat_map(|rounds| (0..NODES).map(|node| rounds.iter().skip(node).step_by(NODES).sum())).collect()
}

/// Part of the honest and of the dishonest below each threshold: a dishonest one is found where its value is low.
fn roc(honest: &[f64], dishonest: &[f64]) -> Vec<(f64, f64)> {
    let mut all: Vec<(f64, bool)> =
        honest.iter().map(|value| (*value, true)).chain(dishonest.iter().map(|value| (*value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut innocent, mut found) = (0.0, 0.0);
    let mut curve = vec![(0.0, 0.0)];
    for (_, is_honest) in all {
        if is_honest {
            innocent += 1.0 / honest.len() as f64
        } else {
            found += 1.0 / dishonest.len() as f64
        }
        curve.push((innocent, found));
    }
    curve
}

fn area(curve: &[(f64, f64)]) -> f64 {
    curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn area__should_be_one_where_all_are_told_apart_and_half_where_none_are() {
        assert!((area(&roc(&[3.0, 4.0], &[1.0, 2.0])) - 1.0).abs() < 1e-12);
        assert!((area(&roc(&[1.0, 2.0], &[3.0, 4.0]))).abs() < 1e-12);
        let values: Vec<f64> = (0..1_000).map(f64::from).collect();
        assert!((area(&roc(&values, &values)) - 0.5).abs() < 1e-2);
    }
}
