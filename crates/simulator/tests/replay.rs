//! Work that is done again: a committed segment is reproduced bit for bit, and shortened or foreign work is not.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

use starling_rounds::{Hash32, SegmentError, Segments, merkle_root};
use starling_simulator::{Learning, Reading, Work, figures::small_recipe, text::synthetic};

const STEPS: u32 = 12;
const SEGMENT: u32 = 4;

/// A participant's states at each border of a round's segments; `made` inner steps of each segment are truly made.
fn borders(work: &mut Learning, made: u64) -> Vec<Vec<u8>> {
    let state = work.first_state();
    work.start(0, None).unwrap();
    work.load(0, state.weights()).unwrap();
    let mut states = vec![work.checkpoint(0).unwrap()];
    for segment in 0..STEPS / SEGMENT {
        let first = u64::from(segment * SEGMENT);
        work.train(0, first..first + made).unwrap();
        // Whoever skips steps says that it made them.
        work.train(0, first + u64::from(SEGMENT)..first + u64::from(SEGMENT)).unwrap();
        states.push(work.checkpoint(0).unwrap());
    }
    states
}

/// What an auditor does with the states that it was shown.
fn audit(work: &mut Learning, segments: &Segments, states: &[Vec<u8>]) -> Vec<Result<(), SegmentError>> {
    let audited = segments.challenged(&Hash32([3; 32]), segments.count());
    let mut verdicts = vec![Ok(()); segments.count()];
    for segment in audited {
        let (first, end) = segments.steps_of(segment);
        work.start(0, Some(&states[segment])).unwrap();
        work.train(0, first..end).unwrap();
        let reached = merkle_root(&work.checkpoint(0).unwrap());
        verdicts[segment] = segments.verify(segment, merkle_root(&states[segment]), reached);
    }
    verdicts
}

fn committed(states: &[Vec<u8>]) -> Segments {
    Segments::new(0, STEPS, SEGMENT, states.iter().map(|state| merkle_root(state)).collect()).unwrap()
}

#[test]
fn segment__should_be_reproduced_bit_for_bit_and_false_work_should_not() {
    let text = synthetic(1, 1 << 16);
    let mut auditor = Learning::new(small_recipe(1, STEPS).unwrap(), &text, &[Reading::Assigned]).unwrap();
    let states = borders(&mut auditor, u64::from(SEGMENT));
    let segments = committed(&states);
    assert_eq!(audit(&mut auditor, &segments, &states), [Ok(()); 3]);

    let lazy = borders(&mut auditor, u64::from(SEGMENT) / 2);
    let all_wrong = [0, 1, 2].map(|segment| Err(SegmentError::NotReproduced(segment)));
    assert_eq!(audit(&mut auditor, &committed(&lazy), &lazy), all_wrong);

    let mut elsewhere = Learning::new(small_recipe(1, STEPS).unwrap(), &text, &[Reading::Other]).unwrap();
    let foreign = borders(&mut elsewhere, u64::from(SEGMENT));
    assert_eq!(audit(&mut auditor, &committed(&foreign), &foreign), all_wrong);

    // Honest states shown for other commitments.
    assert_eq!(audit(&mut auditor, &committed(&lazy), &states)[1], Err(SegmentError::WrongStart(1)));
}
