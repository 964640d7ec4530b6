//! What attackers send. They know every honest update of the round, which commit-before-reveal keeps from real ones.

use crate::{chance::Chance, scenario::Behaviour};

const ALIE_DEVIATIONS: f32 = 1.5;
/// In median norms: it tries the clip, and stays below what is refused as too long.
const BACKDOOR_LENGTH: f32 = 2.0;
const COPY_NOISE: f32 = 0.5;
/// What those who agree on one update add to it, so that it is not the other's.
const DISGUISE: f32 = 0.3;

/// What an attacker makes of its own pseudo-gradient and those of the honest. `numbers` are place and round.
pub(crate) fn craft(behaviour: Behaviour, own: &[f32], honest: &[&[f32]], chance: Chance, numbers: &[u64]) -> Vec<f32> {
    let scaled = |factor: f32| own.iter().map(|value| value * factor).collect();
    let with_noise = |update: &[f32], part: f32| -> Vec<f32> {
        update.iter().zip(noise_like(update, part, chance, numbers)).map(|(value, noise)| value + noise).collect()
    };
    match behaviour {
        Behaviour::Honest | Behaviour::InflatedTokens | Behaviour::WrongData => own.to_vec(),
        Behaviour::SignFlip => scaled(-1.0),
        Behaviour::ScaleMinusTen => scaled(-10.0),
        Behaviour::Lazy => scaled(2.0),
        Behaviour::Noise => noise_like(own, 1.0, chance, numbers),
        Behaviour::Backdoor => {
            scaled(BACKDOOR_LENGTH * median(honest.iter().map(|update| length(update)).collect()) / length(own).max(f32::MIN_POSITIVE))
        }
        Behaviour::Copied => with_noise(honest.first().copied().unwrap_or(own), COPY_NOISE),
        Behaviour::Alie => {
            let (mean, deviation) = moments(own, honest);
            let agreed: Vec<f32> = mean.iter().zip(&deviation).map(|(mean, deviation)| mean - ALIE_DEVIATIONS * deviation).collect();
            with_noise(&agreed, DISGUISE)
        }
        Behaviour::InnerProduct => {
            let agreed: Vec<f32> = moments(own, honest).0.iter().map(|mean| -0.5 * mean).collect();
            with_noise(&agreed, DISGUISE)
        }
        Behaviour::MinMax => with_noise(&min_max(own, honest), DISGUISE),
    }
}

/// Along the deviation of each coordinate, as far as no honest update is farther away than two of them are from each other.
fn min_max(own: &[f32], honest: &[&[f32]]) -> Vec<f32> {
    let (mean, deviation) = moments(own, honest);
    let at = |gamma: f32| -> Vec<f32> { mean.iter().zip(&deviation).map(|(mean, deviation)| mean - gamma * deviation).collect() };
    let greatest = |point: &[f32]| honest.iter().map(|update| distance(point, update)).fold(0.0, f32::max);
    let bound = honest.iter().map(|update| greatest(update)).fold(0.0, f32::max);
    let (mut low, mut high) = (0.0_f32, 16.0_f32);
    for _ in 0..24 {
        let middle = f32::midpoint(low, high);
        if greatest(&at(middle)) <= bound { low = middle } else { high = middle }
    }
    at(low)
}

fn moments(own: &[f32], honest: &[&[f32]]) -> (Vec<f32>, Vec<f32>) {
    if honest.is_empty() {
        return (own.to_vec(), vec![0.0; own.len()]);
    }
    let count = honest.len() as f32;
    let mean: Vec<f32> = (0..own.len()).map(|i| honest.iter().map(|update| update[i]).sum::<f32>() / count).collect();
    let square = |i: usize| honest.iter().map(|update| (update[i] - mean[i]).powi(2)).sum::<f32>() / count;
    let deviation = (0..own.len()).map(|i| square(i).sqrt()).collect();
    (mean, deviation)
}

fn noise_like(update: &[f32], part: f32, chance: Chance, numbers: &[u64]) -> Vec<f32> {
    let deviation = part * length(update) / (update.len() as f32).sqrt();
    chance.normal("attack", numbers, update.len()).into_iter().map(|value| value * deviation).collect()
}

fn length(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt()
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn craft__should_make_what_each_attack_is_known_for() {
        let chance = Chance::new(7);
        let honest: Vec<Vec<f32>> =
            (0..6).map(|who| chance.normal("honest", &[who], 4_000).iter().map(|noise| 1.0 + noise).collect()).collect();
        let honest: Vec<&[f32]> = honest.iter().map(Vec::as_slice).collect();
        let own = honest[0].to_vec();
        let made = |behaviour| craft(behaviour, &own, &honest, chance, &[6, 1]);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let (mean, _) = moments(&own, &honest);
        assert!(dot(&made(Behaviour::SignFlip), &own) < 0.0 && dot(&made(Behaviour::InnerProduct), &mean) < 0.0);
        assert!((length(&made(Behaviour::ScaleMinusTen)) / length(&own) - 10.0).abs() < 1e-3);
        assert!((length(&made(Behaviour::Noise)) / length(&own) - 1.0).abs() < 0.05);
        assert!((length(&made(Behaviour::Backdoor)) / length(&own) - 2.0).abs() < 0.1);
        let min_max = min_max(&own, &honest);
        let farthest = |point: &[f32]| honest.iter().map(|update| distance(point, update)).fold(0.0, f32::max);
        let bound = honest.iter().map(|update| farthest(update)).fold(0.0, f32::max);
        assert!((farthest(&min_max) / bound - 1.0).abs() < 1e-3);
        let alie = made(Behaviour::Alie);
        assert!((distance(&alie, &mean) / 1.5 / 4_000.0_f32.sqrt() - 0.9).abs() < 0.2);
        let (accomplice, agreed) = (craft(Behaviour::Alie, &own, &honest, chance, &[7, 1]), length(&alie));
        assert!(distance(&alie, &accomplice) > 0.3 * agreed && distance(&alie, &accomplice) < 0.5 * agreed);
        assert!(distance(&made(Behaviour::Copied), &own) < 0.6 * length(&own));
        assert_eq!(made(Behaviour::InflatedTokens), own);
    }
}
