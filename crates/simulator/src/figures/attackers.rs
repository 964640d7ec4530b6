//! Two of eight attack, each in one way: what it costs against honest work in the place of what was accepted of theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Figure, Report,
    absence::{list, loss_by_tokens, mean},
    each, percent, run, small_recipe,
};
use crate::{Behaviour, Outcome, Row, Scenario, SimulationError, plot};

const NODES: u16 = 8;
const ATTACKERS: u16 = 2;
/// Of the loss, in percent.
const BOUND: f64 = 0.5;
/// Those of the issue; the rest (copied, lazy, wrong data) do no harm but earn.
pub const ATTACKS: [Behaviour; 8] = [
    Behaviour::SignFlip,
    Behaviour::ScaleMinusTen,
    Behaviour::Noise,
    Behaviour::Alie,
    Behaviour::MinMax,
    Behaviour::InnerProduct,
    Behaviour::Backdoor,
    Behaviour::InflatedTokens,
];

/// In which rounds which of the attackers' places brought nothing that counts.
type Away = BTreeSet<(u16, u32)>;

fn without_effect(outcome: &Outcome) -> Away {
    let of_row = |row: &Row| {
        let (round, accepted) = (row.round, row.accepted.clone());
        (NODES - ATTACKERS..NODES).filter(move |place| !accepted.contains(place)).map(move |place| (place, round))
    };
    outcome.rows.iter().flat_map(of_row).collect()
}

fn honest_refused(outcome: &Outcome) -> usize {
    (0..NODES - ATTACKERS).map(|place| outcome.verdicts(place).1).sum()
}

/// Each attack over some seeds, against eight honest nodes of which the two in the attackers' place are there in the rounds in which
/// the attackers' work counted: the same number of paid tokens in the same rounds.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(rounds: u32, seeds: u64, text: &[u8], attacks: &[Behaviour]) -> Result<Report, SimulationError> {
    let simulated = |seed: u64, behaviour: Behaviour, away: &Away| {
        let mut recipe = small_recipe(rounds, 10)?;
        recipe.seed = seed;
        let scenario = Scenario::new("", rounds, usize::from(NODES)).attacked(usize::from(ATTACKERS), behaviour);
        run(&Scenario { seed, away: away.clone(), evaluate_every: (rounds / 20).max(1), ..scenario }, &recipe, text)
    };
    let pairs: Vec<(u64, Behaviour)> = (1..=seeds).flat_map(|seed| attacks.iter().map(move |attack| (seed, *attack))).collect();
    let attacked = each(&pairs, |(seed, attack)| simulated(*seed, *attack, &Away::new()))?;
    // Where all attackers' work was refused, one run of the six alone stands for all of them; all eight are always looked at.
    let mut wanted: BTreeSet<(u64, Away)> = (1..=seeds).map(|seed| (seed, Away::new())).collect();
    wanted.extend(pairs.iter().zip(&attacked).map(|((seed, _), outcome)| (*seed, without_effect(outcome))));
    let wanted: Vec<(u64, Away)> = wanted.into_iter().collect();
    let honest = each(&wanted, |(seed, away)| simulated(*seed, Behaviour::Honest, away))?;
    let honest: BTreeMap<(u64, Away), Outcome> = wanted.into_iter().zip(honest).collect();

    let mut report = Report::default();
    let eight: Vec<&Outcome> = (1..=seeds).filter_map(|seed| honest.get(&(seed, Away::new()))).collect();
    let refused: usize = eight.iter().map(|outcome| (0..NODES).map(|place| outcome.verdicts(place).1).sum::<usize>()).sum();
    let made = usize::from(NODES) * rounds as usize * eight.len();
    report.figures.push(Figure::bound(
        "honest work refused where all eight are honest",
        format!("{refused} of {made}"),
        refused * 100 <= made,
    ));
    let mut lines: Vec<plot::Line> = eight.first().map(|outcome| loss_by_tokens("eight honest", outcome)).into_iter().collect();
    for attack in attacks {
        let (mut gaps, mut refused, mut innocent, mut trigger) = (Vec::new(), 0, 0, Vec::new());
        for ((seed, _), outcome) in pairs.iter().zip(&attacked).filter(|((_, of), _)| of == attack) {
            let away = without_effect(outcome);
            refused += away.len();
            innocent += honest_refused(outcome);
            if *seed == 1 {
                lines.push(loss_by_tokens(attack.name(), outcome));
            }
            let Some(reference) = honest.get(&(*seed, away)) else { continue };
            let tokens = outcome.tokens().min(reference.tokens());
            let loss = |outcome: &Outcome| outcome.loss_at(tokens).unwrap_or(outcome.held_out_loss);
            gaps.push(percent(loss(outcome), loss(reference)));
            trigger.push(percent(outcome.trigger_loss, reference.trigger_loss));
        }
        let backdoor = if *attack == Behaviour::Backdoor {
            format!("; loss on text with the trigger {:+.1} %", mean(&trigger))
        } else {
            String::new()
        };
        let made = usize::from(ATTACKERS) * rounds as usize * gaps.len();
        report.figures.push(Figure::bound(
            format!("two of eight: {}", attack.name()),
            format!(
                "loss {:+.2} % on the mean ({}); {refused} of {made} of their updates refused, {innocent} honest ones{backdoor}",
                mean(&gaps),
                list(&gaps),
            ),
            mean(&gaps) <= BOUND,
        ));
    }
    let plot = plot::svg("Two of eight attack: held-out loss", "accepted tokens", "nats per byte", &lines);
    report.files.push(("attackers.svg".to_owned(), plot));
    Ok(report)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::text::synthetic;

    #[test]
    fn attackers__should_cost_no_more_than_honest_work_in_their_place() {
        let attacks = [Behaviour::InnerProduct, Behaviour::MinMax, Behaviour::Backdoor];
        let report = figures(4, 1, &synthetic(1, 1 << 18), &attacks).unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert!(report.figures.len() == 4 && report.figures.iter().all(|figure| figure.holds), "{:?}", report.figures);
        assert!(report.figures[1].value.contains("8 of 8 of their updates refused"), "{:?}", report.figures[1]);
    }
}
