//! Two of eight attack, each in one way: what it costs against the other six alone.

use super::{
    Figure, Report,
    absence::{list, loss_by_tokens, mean},
    percent, run, small_recipe,
};
use crate::{Behaviour, Outcome, Scenario, SimulationError, plot};

const NODES: usize = 8;
const ATTACKERS: usize = 2;
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

/// How often the attackers' work was accepted and refused.
fn verdicts(outcome: &Outcome) -> (usize, usize) {
    let each = (NODES - ATTACKERS..NODES).map(|place| outcome.verdicts(u16::try_from(place).unwrap_or(u16::MAX)));
    each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn honest_refused(outcome: &Outcome) -> usize {
    (0..NODES - ATTACKERS).map(|place| outcome.verdicts(u16::try_from(place).unwrap_or(u16::MAX)).1).sum()
}

/// Each attack over some seeds, against a run without attackers of as many accepted updates: where most of theirs are refused,
/// the six honest nodes alone, with the same data and rounds; where most are accepted, eight honest ones at equal accepted tokens.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(rounds: u32, seeds: u64, text: &[u8], attacks: &[Behaviour]) -> Result<Report, SimulationError> {
    let mut report = Report::default();
    let mut lines = Vec::new();
    let mut references = Vec::new();
    for seed in 1..=seeds {
        let mut recipe = small_recipe(rounds, 10)?;
        recipe.seed = seed;
        let quiet = Scenario { seed, evaluate_every: (rounds / 20).max(1), ..Scenario::new("six alone", rounds, NODES - ATTACKERS) };
        let eight = Scenario {
            name: "eight honest".to_owned(),
            ..Scenario { seed, evaluate_every: quiet.evaluate_every, ..Scenario::new("", rounds, NODES) }
        };
        let (six, all) = (run(&quiet, &recipe, text)?, run(&eight, &recipe, text)?);
        if seed == 1 {
            lines.extend([loss_by_tokens("six honest alone", &six), loss_by_tokens("eight honest", &all)]);
        }
        references.push((recipe, six, all));
    }
    let refused: usize = references.iter().map(|(_, _, all)| (0..8).map(|place| all.verdicts(place).1).sum::<usize>()).sum();
    report.figures.push(Figure::bound(
        "honest work refused where all eight are honest",
        format!("{refused} of {}", 8 * rounds as usize * references.len()),
        refused * 100 <= 8 * rounds as usize * references.len(),
    ));
    for attack in attacks {
        let (mut gaps, mut others, mut passed, mut innocent, mut trigger) = (Vec::new(), Vec::new(), (0, 0), 0, Vec::new());
        for (seed, (recipe, six, all)) in (1..).zip(&references) {
            let scenario = Scenario { seed, evaluate_every: (rounds / 20).max(1), ..Scenario::new("", rounds, NODES) };
            let outcome = run(&scenario.attacked(ATTACKERS, *attack), recipe, text)?;
            let one = verdicts(&outcome);
            let tokens = outcome.tokens();
            let (reference, other) = if one.0 > one.1 { (all, six) } else { (six, all) };
            let against = |other: &Outcome| {
                percent(
                    outcome.loss_at(other.tokens()).unwrap_or(outcome.held_out_loss),
                    other.loss_at(tokens).unwrap_or(other.held_out_loss),
                )
            };
            gaps.push(against(reference));
            others.push(against(other));
            passed = (passed.0 + one.0, passed.1 + one.1);
            innocent += honest_refused(&outcome);
            trigger.push(percent(outcome.trigger_loss, six.trigger_loss));
            if seed == 1 {
                lines.push(loss_by_tokens(attack.name(), &outcome));
            }
        }
        let backdoor = if *attack == Behaviour::Backdoor {
            format!("; loss on text with the trigger {:+.1} %", mean(&trigger))
        } else {
            String::new()
        };
        report.figures.push(Figure::bound(
            format!("two of eight: {}", attack.name()),
            format!(
                "loss {:+.2} % on the mean ({}) against {}, {:+.2} % against {}; {} of {} of their updates refused, {innocent} honest ones{backdoor}",
                mean(&gaps),
                list(&gaps),
                if passed.0 > passed.1 { "eight honest" } else { "the six alone" },
                mean(&others),
                if passed.0 > passed.1 { "the six alone" } else { "eight honest" },
                passed.1,
                passed.0 + passed.1,
            ),
            mean(&gaps) <= 0.5,
        ));
    }
    report
        .files
        .push(("attackers.svg".to_owned(), plot::svg("Two of eight attack: held-out loss", "accepted tokens", "nats per byte", &lines)));
    Ok(report)
}
