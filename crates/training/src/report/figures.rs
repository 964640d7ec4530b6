//! Figures of a classifier: macro-F1, area under the ROC curve, calibration, confusion, each with a bootstrap interval.

use std::fmt;

use serde_json::{Value, json};

use crate::error::{Result, TrainingError};
use crate::random::Stream;

/// Resamplings of a bootstrap.
const RESAMPLES: usize = 200;
/// Bins of the calibration curve.
const BINS: usize = 10;

/// A figure and the middle 95 % of its bootstrap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// On all examples.
    pub value: f64,
    /// 2.5 % of resamplings are below.
    pub low: f64,
    /// 2.5 % of resamplings are above.
    pub high: f64,
}

/// How far stated chances are from what happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Expected calibration error: the mean of |stated chance - share that was right|, by bins of equal width.
    pub error: Interval,
    /// Of each bin that is not empty: the mean stated chance, the share that was right, the examples.
    pub bins: Vec<(f64, f64, usize)>,
    /// Brier score: the mean squared distance between chances and what happened, 0 to 2.
    pub brier: f64,
}

/// What a classifier does on examples that it has not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Examples.
    pub examples: usize,
    /// Share that is right.
    pub accuracy: Interval,
    /// The mean over classes of the harmonic mean of precision and recall.
    pub macro_f1: Interval,
    /// The chance that an example of a class is ranked above one that is not: of the second of two classes, else the mean
    /// over classes.
    pub auroc: Interval,
    /// Stated chances against what happens.
    pub calibration: Calibration,
    /// `confusion[truth][said]` examples.
    pub confusion: Vec<Vec<usize>>,
}

/// The figures of `probabilities` (examples, classes) against the true classes `targets`; `seed` fixes the bootstrap.
///
/// # Errors
/// [`TrainingError::BadRequest`] for no example, or numbers that do not fit each other.
pub fn classification(classes: &[String], probabilities: &[Vec<f64>], targets: &[u32], seed: u64) -> Result<Classification> {
    let fits = probabilities.len() == targets.len()
        && probabilities.iter().all(|row| row.len() == classes.len())
        && targets.iter().all(|target| (*target as usize) < classes.len());
    if !fits || targets.is_empty() || classes.len() < 2 {
        return Err(TrainingError::BadRequest(format!(
            "{} predictions for {} targets of {} classes",
            probabilities.len(),
            targets.len(),
            classes.len()
        )));
    }
    let all: Vec<usize> = (0..targets.len()).collect();
    let answers = Answers { probabilities, targets, classes: classes.len() };
    let interval = |figure: &dyn Fn(&[usize]) -> f64| bootstrap(targets.len(), seed, figure);
    let calibration = Calibration {
        error: interval(&|chosen| answers.calibration_error(chosen)),
        bins: answers.bins(&all).into_iter().filter(|(.., examples)| *examples > 0).collect(),
        brier: answers.brier(),
    };
    Ok(Classification {
        classes: classes.to_vec(),
        examples: targets.len(),
        accuracy: interval(&|chosen| answers.accuracy(chosen)),
        macro_f1: interval(&|chosen| answers.macro_f1(chosen)),
        auroc: interval(&|chosen| answers.auroc(chosen)),
        calibration,
        confusion: answers.confusion(&all),
    })
}

/// `figure` of all places below `count`, and of as many drawn with replacement, again and again.
pub(crate) fn bootstrap(count: usize, seed: u64, figure: &dyn Fn(&[usize]) -> f64) -> Interval {
    let value = figure(&(0..count).collect::<Vec<_>>());
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|round| {
            let mut stream = Stream::new("starling 2026 bootstrap v1", seed, &[round as u64]);
            let chosen: Vec<usize> = (0..count).map(|_| usize::try_from(stream.below(count as u64)).unwrap_or(0)).collect();
            figure(&chosen)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    Interval { value, low: resampled[RESAMPLES / 40], high: resampled[RESAMPLES - 1 - RESAMPLES / 40] }
}

struct Answers<'a> {
    probabilities: &'a [Vec<f64>],
    targets: &'a [u32],
    classes: usize,
}

impl Answers<'_> {
    /// The likeliest class of an example, the first of equals, and its chance.
    fn said(&self, example: usize) -> (usize, f64) {
        let row = &self.probabilities[example];
        row.iter().enumerate().fold((0, f64::NEG_INFINITY), |best, (class, chance)| if *chance > best.1 { (class, *chance) } else { best })
    }

    fn is_right(&self, example: usize) -> bool {
        self.said(example).0 == self.targets[example] as usize
    }

    fn accuracy(&self, chosen: &[usize]) -> f64 {
        chosen.iter().filter(|example| self.is_right(**example)).count() as f64 / chosen.len() as f64
    }

    fn confusion(&self, chosen: &[usize]) -> Vec<Vec<usize>> {
        let mut confusion = vec![vec![0; self.classes]; self.classes];
        for example in chosen {
            confusion[self.targets[*example] as usize][self.said(*example).0] += 1;
        }
        confusion
    }

    /// A class that is neither there nor said counts for nothing.
    fn macro_f1(&self, chosen: &[usize]) -> f64 {
        let confusion = self.confusion(chosen);
        let of_class = |class: usize| {
            let (right, said, there) =
                (confusion[class][class], confusion.iter().map(|row| row[class]).sum::<usize>(), confusion[class].iter().sum::<usize>());
            (said + there > 0).then(|| 2.0 * right as f64 / (said + there) as f64)
        };
        mean((0..self.classes).filter_map(of_class))
    }

    fn auroc(&self, chosen: &[usize]) -> f64 {
        let from = if self.classes == 2 { 1 } else { 0 };
        mean((from..self.classes).filter_map(|class| self.auroc_of(class, chosen)))
    }

    /// By ranks, those of equal chances shared; none where the class or its opposite is not there.
    fn auroc_of(&self, class: usize, chosen: &[usize]) -> Option<f64> {
        let mut ranked: Vec<(f64, bool)> =
            chosen.iter().map(|example| (self.probabilities[*example][class], self.targets[*example] as usize == class)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let positives = ranked.iter().filter(|(_, is)| *is).count();
        let negatives = ranked.len() - positives;
        if positives == 0 || negatives == 0 {
            return None;
        }
        let (mut ranks, mut before) = (0.0, 0);
        for equal in ranked.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
            ranks += rank * equal.iter().filter(|(_, is)| *is).count() as f64;
            before += equal.len();
        }
        let (p, n) = (positives as f64, negatives as f64);
        Some((ranks - p * (p + 1.0) / 2.0) / (p * n))
    }

    fn bins(&self, chosen: &[usize]) -> Vec<(f64, f64, usize)> {
        let mut bins = vec![(0.0, 0usize, 0usize); BINS];
        for example in chosen {
            let (_, chance) = self.said(*example);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a chance in tenths, cut off")]
            let place = ((chance * BINS as f64) as usize).min(BINS - 1);
            let bin = &mut bins[place];
            *bin = (bin.0 + chance, bin.1 + usize::from(self.is_right(*example)), bin.2 + 1);
        }
        let shown = |(chances, right, examples): (f64, usize, usize)| {
            let count = examples.max(1) as f64;
            (chances / count, right as f64 / count, examples)
        };
        bins.into_iter().map(shown).collect()
    }

    fn calibration_error(&self, chosen: &[usize]) -> f64 {
        let of_bin = |(chance, right, examples): (f64, f64, usize)| (chance - right).abs() * examples as f64;
        self.bins(chosen).into_iter().map(of_bin).sum::<f64>() / chosen.len() as f64
    }

    fn brier(&self) -> f64 {
        let of_example = |(row, target): (&Vec<f64>, &u32)| {
            row.iter().enumerate().map(|(class, chance)| (chance - f64::from(u8::from(class == *target as usize))).powi(2)).sum::<f64>()
        };
        mean(self.probabilities.iter().zip(self.targets).map(of_example))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { f64::NAN } else { sum / f64::from(count) }
}

impl Interval {
    pub(super) fn to_json(self) -> Value {
        json!({ "value": self.value, "low": self.low, "high": self.high })
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.value, self.low, self.high)
    }
}

impl Classification {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": "classes",
            "classes": self.classes,
            "examples": self.examples,
            "accuracy": self.accuracy.to_json(),
            "macro_f1": self.macro_f1.to_json(),
            "auroc": self.auroc.to_json(),
            "calibration_error": self.calibration.error.to_json(),
            "calibration_bins": self.calibration.bins,
            "brier": self.calibration.brier,
            "confusion": self.confusion,
        })
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("class {index}")).collect()
    }

    #[test]
    fn figures__should_be_those_worked_out_by_hand() {
        let chances = [0.9, 0.8, 0.3, 0.6, 0.2, 0.4];
        let rows: Vec<Vec<f64>> = chances.iter().map(|chance| vec![1.0 - chance, *chance]).collect();
        let made = classification(&names(2), &rows, &[1, 1, 1, 0, 0, 0], 1).expect("fits");
        assert_eq!(made.confusion, [vec![2, 1], vec![1, 2]]);
        let near = |found: f64, exact: f64| assert!((found - exact).abs() < 1e-12, "{found} against {exact}");
        near(made.accuracy.value, 4.0 / 6.0);
        near(made.macro_f1.value, 2.0 / 3.0);
        // Of nine pairs, 0.3 is below 0.6 and 0.4.
        near(made.auroc.value, 7.0 / 9.0);
        near(made.calibration.brier, 2.0 * (0.01 + 0.04 + 0.49 + 0.36 + 0.04 + 0.16) / 6.0);
        // By bins: 0.9 right; 0.8 twice right; 0.7 wrong; 0.6 once right, once wrong.
        near(made.calibration.error.value, ((0.9 - 1.0f64).abs() + (1.6 - 2.0f64).abs() + 0.7 + (1.2 - 1.0f64).abs()) / 6.0);
    }

    #[test]
    fn auroc__should_be_a_half_for_equal_chances_and_one_for_a_right_order() {
        let of = |rows: &[[f64; 3]], targets: &[u32]| {
            let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.to_vec()).collect();
            classification(&names(3), &rows, targets, 1).expect("fits").auroc.value
        };
        assert_eq!(of(&[[0.3, 0.3, 0.4]; 6], &[0, 1, 2, 0, 1, 2]), 0.5);
        assert_eq!(of(&[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], &[0, 1, 2]), 1.0);
    }

    #[test]
    fn intervals__should_hold_the_value_and_narrow_with_more_examples() {
        let made = |count: usize| {
            let mut stream = Stream::new("figures test", 1, &[]);
            let rows: Vec<Vec<f64>> = (0..count).map(|_| stream.unit()).map(|chance| vec![1.0 - chance, chance]).collect();
            let targets: Vec<u32> = rows.iter().map(|row| u32::from(stream.unit() < row[1])).collect();
            classification(&names(2), &rows, &targets, 1).expect("fits")
        };
        let (few, many) = (made(100), made(2_000));
        for interval in [few.accuracy, few.auroc, few.macro_f1, many.accuracy, many.auroc] {
            assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
        }
        assert!(many.accuracy.high - many.accuracy.low < 0.5 * (few.accuracy.high - few.accuracy.low));
        assert!(many.calibration.error.value < 0.05, "chances that are true are calibrated: {:?}", many.calibration.error);
        assert_eq!(made(100), few);
    }

    #[test]
    fn classification__should_refuse_what_does_not_fit() {
        for (rows, targets) in
            [(vec![], vec![]), (vec![vec![0.5, 0.5]], vec![2]), (vec![vec![1.0]], vec![0]), (vec![vec![0.5, 0.5]], vec![0, 1])]
        {
            assert!(classification(&names(2), &rows, &targets, 1).is_err());
        }
    }
}
