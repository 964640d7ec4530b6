//! Nodes that are absent, slow, late or crash: what it costs in loss and in time.

use super::{Figure, Report, each, percent, run, small_recipe};
use crate::{Outcome, Participant, Scenario, SimulationError, plot};

const NODES: usize = 10;
const ABSENT: usize = 3;

/// Ten nodes of which three others are absent in each round, against seven that are always there: as many accepted tokens in as
/// many outer steps.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(rounds: u32, seeds: u64, text: &[u8]) -> Result<Report, SimulationError> {
    let mut report = Report::default();
    let of_seed = |seed: &u64| {
        let mut recipe = small_recipe(rounds, 15)?;
        recipe.seed = *seed;
        let scenario = |name: &str, nodes: usize| Scenario { seed: *seed, ..Scenario::new(name, rounds, nodes) };
        let steady = run(&scenario("seven always there", NODES - ABSENT), &recipe, text)?;
        let absent = run(&Scenario { absent: ABSENT, ..scenario("three of ten absent in each round", NODES) }, &recipe, text)?;
        Ok((steady, absent))
    };
    let (mut gaps, mut goodputs, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, (steady, absent)) in (1..).zip(each(&(1..=seeds).collect::<Vec<u64>>(), of_seed)?) {
        let tokens = steady.tokens().min(absent.tokens());
        let loss = |outcome: &Outcome| outcome.loss_at(tokens).unwrap_or(outcome.held_out_loss);
        gaps.push(percent(loss(&absent), loss(&steady)));
        goodputs.push(absent.efficiency() / steady.efficiency());
        for outcome in [&steady, &absent] {
            lines.push(loss_by_tokens(&format!("{}, seed {seed}", outcome.name), outcome));
        }
    }
    let worst = goodputs.iter().copied().fold(f64::INFINITY, f64::min);
    report.figures.extend([
        Figure::bound(
            format!("30 % absent: loss at equal accepted tokens, {seeds} seeds, {rounds} rounds"),
            format!("{:+.2} % on the mean ({})", mean(&gaps), list(&gaps)),
            mean(&gaps) <= 0.5,
        ),
        Figure::bound(
            "30 % absent: goodput, of what as many do that are always there",
            format!("{:.1} % at least", 100.0 * worst),
            worst >= 0.98,
        ),
    ]);
    report
        .files
        .push(("absence.svg".to_owned(), plot::svg("Held-out loss by accepted tokens", "accepted tokens", "nats per byte", &lines)));
    report.figures.extend(speeds(text)?);
    Ok(report)
}

/// Eight nodes of which two have a quarter and two half of the speed; then one comes late, one leaves, all crash now and then.
fn speeds(text: &[u8]) -> Result<Vec<Figure>, SimulationError> {
    // Enough that it matters little which of them is drawn to score in which round.
    const ROUNDS: u32 = 16;
    let recipe = small_recipe(ROUNDS, 64)?;
    let mut paced = Scenario { paced: true, evaluate_every: ROUNDS, ..Scenario::new("paced", ROUNDS, 8) };
    for (participant, step_us) in paced.participants.iter_mut().zip([4_000_000, 4_000_000, 2_000_000, 2_000_000]) {
        *participant = Participant::honest(step_us);
    }
    let equal = Scenario { paced: false, name: "equal steps".to_owned(), ..paced.clone() };
    let (paced_end, equal_end) = (run(&paced, &recipe, text)?, run(&equal, &recipe, text)?);
    let mut churned = Scenario { crash_chance: 0.1, rounds: 12, name: "churn".to_owned(), ..paced };
    churned.participants[7].joins_before_round = 3;
    churned.participants[6].leaves_before_round = 6;
    let churned_end = run(&churned, &small_recipe(12, 16)?, text)?;
    // The first of them is a short one, which shows the paces.
    let rate = |outcome: &Outcome| {
        let rows = &outcome.rows[1..];
        let took = rows.iter().map(|row| row.ended_us - row.began_us).sum::<u64>() as f64 / 1e6;
        rows.iter().map(|row| row.tokens).sum::<u64>() as f64 / took
    };
    Ok(vec![
        Figure::bound(
            "speeds 1/4, 1/4, 1/2, 1/2, 1, 1, 1, 1: accepted tokens by the second, paced steps against equal ones",
            format!("{:.0} against {:.0}", rate(&paced_end), rate(&equal_end)),
            rate(&paced_end) > 1.2 * rate(&equal_end),
        ),
        Figure::bound(
            "the same with a late joiner, a leaver and a crash in ten shares",
            format!(
                "{} rounds, {} accepted tokens, loss {:.4}; all replicas of one root",
                churned_end.rows.len(),
                churned_end.tokens(),
                churned_end.held_out_loss
            ),
            churned_end.verdicts(7).0 > 0 && churned_end.rows.len() == 12,
        ),
    ])
}

pub(super) fn loss_by_tokens(name: &str, outcome: &Outcome) -> plot::Line {
    let mut sum = 0;
    let points = outcome.rows.iter().filter_map(|row| {
        sum += row.tokens;
        Some((sum as f64, row.held_out_loss?))
    });
    plot::Line { name: name.to_owned(), points: points.collect() }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(super) fn list(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:+.2}")).collect::<Vec<_>>().join(", ")
}
