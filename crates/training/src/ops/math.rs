//! Elementary functions of our own: the same bits on every machine, and free of branches so that they vectorise.

/// `e^x` with a relative error below 2e-7; inputs are clamped to [-87, 88].
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4; // exact in 12 bits, so that `k * LN2_HIGH` is
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = x - k * LN2_HIGH - k * LN2_LOW;
    // Cephes' polynomial on [-ln 2 / 2, ln 2 / 2].
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    // The low bits of `rounded` are k: they move into the exponent.
    f32::from_bits(y.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x` within 4e-7: the quotient of two polynomials on [-7.9, 7.9], beyond which it is 1 in `f32`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const ODD: [f32; 7] = [-2.760_768_5e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297_1e-8, 1.485_722_4e-5, 6.372_619_3e-4, 4.893_524_6e-3];
    const EVEN: [f32; 4] = [1.198_258_4e-6, 1.185_347e-4, 2.268_434_6e-3, 4.893_525e-3];
    let x = x.clamp(-7.905_311, 7.905_311);
    x * polynomial(&ODD, x * x) / polynomial(&EVEN, x * x)
}

/// `erf x` within 4e-7: the quotient of two polynomials on [-4, 4], beyond which it is 1 in `f32`.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    const ODD: [f32; 7] =
        [-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024_1e-6, -5.692_506_4e-5, -7.349_906_4e-4, -2.954_6e-3, -1.609_603_3e-2];
    const EVEN: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_3e-3, -1.426_473_9e-2];
    let x = x.clamp(-4.0, 4.0);
    x * polynomial(&ODD, x * x) / polynomial(&EVEN, x * x)
}

/// Coefficients from the highest power down.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// Cosine and sine of an angle of at most two radians, by Taylor's series: the same bits on every machine.
pub(crate) fn cosine_and_sine(angle: f64) -> (f64, f64) {
    let (mut cosine, mut sine, mut term) = (0.0, 0.0, 1.0);
    for order in 0..24 {
        match order % 4 {
            0 => cosine += term,
            1 => sine += term,
            2 => cosine -= term,
            _ => sine -= term,
        }
        term *= angle / f64::from(order + 1);
    }
    (cosine, sine)
}

/// Lanes of every reduction; partial sums are joined in a fixed tree.
const LANES: usize = 16;

/// The sum of `f(a, b)` over two rows of equal length, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(*a, *b);
    }
    join(lanes)
}

/// The sum of `f(a)` over a row.
#[inline(always)]
pub(crate) fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_pairs(a, a, |a, _| f(a))
}

/// The greatest value of a row, which may not be empty.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, a) in lanes.iter_mut().zip(chunk) {
            *lane = if *a > *lane { *a } else { *lane };
        }
    }
    for (lane, a) in lanes.iter_mut().zip(rest) {
        *lane = if *a > *lane { *a } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |m, a| if a > m { a } else { m })
}

#[inline(always)]
fn join(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// An `f64` as the nearest `f32`.
#[expect(clippy::cast_possible_truncation, reason = "rounding to the nearest is the purpose")]
pub(crate) fn nearest_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn exp__should_be_within_2e7_of_the_exact_value() {
        let mut worst: f64 = 0.0;
        for step in -86_000..=87_900 {
            let x = step as f32 * 1e-3;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(1e9).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_and_erf__should_be_within_4e7_of_the_exact_values() {
        // erf by its series, which converges everywhere and is exact enough in f64 up to 5.
        let exact_erf = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        for step in -5_000i16..=5_000 {
            let x = f32::from(step) * 1e-3;
            let wide = f64::from(x);
            assert!((f64::from(erf(x)) - exact_erf(wide)).abs() < 4e-7, "erf {x}: {} {}", erf(x), exact_erf(wide));
            assert!((f64::from(tanh(2.0 * x)) - (2.0 * wide).tanh()).abs() < 4e-7, "tanh {x}");
        }
        assert!(erf(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((erf(0.0), tanh(0.0)), (0.0, 0.0));
        // Near zero both keep their relative precision.
        assert!((tanh(1e-4) / 1e-4 - 1.0).abs() < 1e-6 && (erf(1e-4) / 1.128_379_2e-4 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn cosine_and_sine__should_be_exact_up_to_two_radians() {
        for step in 0..=2_000u16 {
            let angle = f64::from(step) * 1e-3;
            let (cosine, sine) = cosine_and_sine(angle);
            assert!((cosine - angle.cos()).abs() < 1e-15 && (sine - angle.sin()).abs() < 1e-15, "{angle}");
        }
    }

    #[test]
    fn sums__should_equal_the_plain_ones_for_every_length() {
        for length in 0..70u16 {
            let a: Vec<f32> = (0..length).map(f32::from).collect();
            let square = f32::from(length) * (f32::from(length) - 1.0) / 2.0;
            assert_eq!(sum(&a, |a| a), square.max(0.0));
            assert_eq!(sum_pairs(&a, &a, |a, b| a - b), 0.0);
            if length > 0 {
                assert_eq!(max(&a), f32::from(length - 1));
            }
        }
    }
}
