//! Nodes that are absent, slow, late or crash: what it costs in loss and in time.

use super::{Figure, Report, percent, run, small_recipe};
use crate::{Participant, Scenario, SimulationError, plot};

const NODES: usize = 10;
const ABSENT: usize = 3;

/// Ten nodes of which three others are absent in each round, against ten that are always there, at equal accepted tokens.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(rounds: u32, seeds: u64, text: &[u8]) -> Result<Report, SimulationError> {
    let mut report = Report::default();
    let (mut gaps, mut goodputs, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 1..=seeds {
        let mut recipe = small_recipe(rounds, 15)?;
        recipe.seed = seed;
        let scenario = |name: &str| Scenario { seed, ..Scenario::new(name, rounds, NODES) };
        let whole = run(&scenario("all there"), &recipe, text)?;
        // As many accepted tokens as the others have in seven tenths of the rounds.
        let absent = run(&Scenario { absent: ABSENT, ..scenario("three of ten absent in each round") }, &recipe, text)?;
        let reference = whole.loss_at(absent.tokens()).unwrap_or(whole.held_out_loss);
        gaps.push(percent(absent.held_out_loss, reference));
        goodputs.push(absent.efficiency() / whole.efficiency());
        for outcome in [&whole, &absent] {
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
            "30 % absent: goodput, of what those who were there do when all are",
            format!("{:.1} % at least", 100.0 * worst),
            worst >= 0.98,
        ),
    ]);
    report
        .files
        .push(("absence.svg".to_owned(), plot::svg("Held-out loss by accepted tokens", "accepted tokens", "nats per byte", &lines)));
    report.figures.extend(speeds(rounds, text)?);
    Ok(report)
}

/// Eight nodes of which two have a quarter and two half of the speed; one comes late, one leaves, all crash now and then.
fn speeds(rounds: u32, text: &[u8]) -> Result<Vec<Figure>, SimulationError> {
    let recipe = small_recipe(rounds, 16)?;
    let mut paced = Scenario { paced: true, ..Scenario::new("paced", rounds, 8) };
    for (participant, step_us) in paced.participants.iter_mut().zip([4_000_000, 4_000_000, 2_000_000, 2_000_000]) {
        *participant = Participant::honest(step_us);
    }
    let equal = Scenario { paced: false, name: "equal steps".to_owned(), ..paced.clone() };
    let (paced_end, equal_end) = (run(&paced, &recipe, text)?, run(&equal, &recipe, text)?);
    let tokens = paced_end.tokens();
    let same = Scenario::new("one speed", rounds, 8);
    let reference = run(&same, &recipe, text)?.loss_at(tokens);
    let mut churned = paced;
    churned.crash_chance = 0.1;
    churned.name = "churn".to_owned();
    churned.participants[7].joins_before_round = rounds / 4;
    churned.participants[6].leaves_before_round = rounds / 2;
    let churned_end = run(&churned, &recipe, text)?;
    let rate = |outcome: &crate::Outcome| outcome.tokens() as f64 / (outcome.elapsed_us as f64 / 1e6);
    let mut figures = vec![
        Figure::bound(
            "speeds 1/4, 1/4, 1/2, 1/2, 1, 1, 1, 1: accepted tokens by the second, paced steps against equal ones",
            format!(
                "{:.0} against {:.0}; efficiency {:.1} % against {:.1} %",
                rate(&paced_end),
                rate(&equal_end),
                100.0 * paced_end.efficiency(),
                100.0 * equal_end.efficiency()
            ),
            rate(&paced_end) > 1.5 * rate(&equal_end),
        ),
        Figure::bound(
            "the same with a late joiner, a leaver and a crash in ten shares",
            format!(
                "{} rounds, {} accepted tokens, loss {:.4}; all replicas of one root",
                churned_end.rows.len(),
                churned_end.tokens(),
                churned_end.held_out_loss
            ),
            churned_end.verdicts(7).0 > 0 && churned_end.rows.len() == rounds as usize,
        ),
    ];
    if let Some(reference) = reference {
        figures.push(Figure::new(
            "speeds: loss at equal accepted tokens, against eight nodes of one speed",
            format!("{:+.2} %", percent(paced_end.held_out_loss, reference)),
        ));
    }
    Ok(figures)
}

pub(super) fn loss_by_tokens(name: &str, outcome: &crate::Outcome) -> plot::Line {
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
