//! Machines that warm up, cool down and are used by others: limits are kept, and work goes on where it can.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

/// Any minute does where no hours are set.
fn noon() -> MinuteOfWeek {
    MinuteOfWeek::new(0, 720)
}

/// A card that follows Newton's law of cooling, and draws what it is let.
struct Card {
    celsius: f64,
    ambient: f64,
    /// Degrees that a watt makes in the end.
    degrees_per_watt: f64,
    /// Seconds in which two thirds of a change have happened.
    slowness_s: f64,
    idle_watts: f64,
    full_watts: f64,
}

impl Card {
    fn new() -> Self {
        Self { celsius: 35.0, ambient: 30.0, degrees_per_watt: 0.2, slowness_s: 40.0, idle_watts: 40.0, full_watts: 350.0 }
    }

    fn watts(&self, share: Option<Share>) -> f64 {
        let share = share.map_or(0.0, |share| f64::from(share.as_percent()) / 100.0);
        self.idle_watts + (self.full_watts - self.idle_watts) * share
    }

    /// A second at a share, and what the sensors tell then.
    fn second(&mut self, share: Option<Share>) -> Device {
        let watts = self.watts(share);
        let towards = self.ambient + watts * self.degrees_per_watt;
        self.celsius += (towards - self.celsius) / self.slowness_s;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small figures above zero")]
        let (celsius, watts) = (self.celsius as u16, watts.ceil() as u32);
        Device {
            name: "card".to_owned(),
            temperature_celsius: Some(celsius),
            power_watts: Some(watts),
            utilisation_percent: None,
            memory_used_mib: None,
        }
    }
}

/// Plays so many seconds; gives the actions and the greatest temperature and power.
fn play(limits: &Limits, seconds: u64, mut card: Card, change: impl Fn(u64, &mut Card)) -> (Vec<Action>, f64, f64) {
    let mut state = State::new(limits, TimestampMs(0));
    let (mut share, mut actions, mut warmest, mut heaviest) = (None, Vec::new(), 0.0_f64, 0.0_f64);
    for second in 0..seconds {
        change(second, &mut card);
        let device = card.second(share);
        warmest = warmest.max(card.celsius);
        heaviest = heaviest.max(card.watts(share));
        let readings = Readings { devices: vec![device], others_percent: Some(0), free_disk_mib: Some(1 << 20) };
        let (next, action) = decide(limits, &state, &readings, TimestampMs(second * 1_000), noon());
        share = action.share();
        state = next;
        actions.push(action);
    }
    (actions, warmest, heaviest)
}

fn mean_share(actions: &[Action]) -> f64 {
    let sum: f64 = actions.iter().map(|action| action.share().map_or(0.0, |share| f64::from(share.as_percent()))).sum();
    sum / actions.len() as f64
}

fn hand_overs(actions: &[Action]) -> usize {
    let stops = |action: &Action| matches!(action, Action::HandOver { .. });
    actions.windows(2).filter(|pair| !stops(&pair[0]) && stops(&pair[1])).count()
}

#[test]
fn temperature__should_be_held_by_slowing_down() {
    // At full speed it would reach 100 degrees.
    let limits = Limits { max_temperature_celsius: Some(75), ..Limits::default() };
    let (actions, warmest, _) = play(&limits, 3_600, Card::new(), |_, _| ());
    assert!(warmest < 75.0, "{warmest}");
    assert_eq!(hand_overs(&actions), 0);
    // 45 degrees above the air are 225 W: 60 % of the time. Most of that is used.
    let share = mean_share(&actions[600..]);
    assert!((40.0..60.0).contains(&share), "{share}");
}

#[test]
fn temperature__should_be_left_alone_where_it_stays_low() {
    let limits = Limits { max_temperature_celsius: Some(110), ..Limits::default() };
    let (actions, ..) = play(&limits, 600, Card::new(), |_, _| ());
    assert_eq!(actions.last(), Some(&Action::Full));
    assert!(actions[60..].iter().all(|action| *action == Action::Full));
}

#[test]
fn failing_fan__should_end_in_a_hand_over_before_the_limit_and_a_rest() {
    let limits = Limits { max_temperature_celsius: Some(75), ..Limits::default() };
    let fan = |second: u64, card: &mut Card| {
        // Within two minutes the fan stops. Then even the idle card would reach 78 degrees, until it turns again.
        card.degrees_per_watt = match second {
            1_200..1_320 => 0.2 + (second - 1_200) as f64 / 120.0,
            1_320..1_500 => 1.2,
            _ => 0.2,
        };
    };
    let (actions, warmest, _) = play(&limits, 2_400, Card::new(), fan);
    let first = actions.iter().position(|action| matches!(action, Action::HandOver { reason: Reason::Temperature { .. } })).unwrap();
    assert!((1_200..1_500).contains(&first), "{first}");
    let Action::HandOver { reason: Reason::Temperature { celsius, limit, .. } } = &actions[first] else { unreachable!() };
    assert!(celsius < limit, "handed over at {celsius}");
    // It rests until it is cool, then works again.
    let again = first + actions[first..].iter().position(|action| action.share().is_some()).unwrap();
    assert!(again >= first + 60, "rested {} s", again - first);
    assert!(actions[again..].iter().all(|action| action.share().is_some()), "it does not flap");
    assert!(warmest < 78.0, "{warmest}: only what the idle card does by itself");
}

#[test]
fn power__should_stay_below_its_limit() {
    let limits = Limits { max_power_watts: Some(250), ..Limits::default() };
    let (actions, _, heaviest) = play(&limits, 600, Card::new(), |_, _| ());
    assert!(heaviest <= 250.0, "{heaviest}");
    assert_eq!(hand_overs(&actions), 0);
    let share = mean_share(&actions[60..]);
    assert!(share > 45.0, "{share}");
}

#[test]
fn power__should_be_handed_over_where_nothing_slows_it() {
    let limits = Limits { max_power_watts: Some(250), ..Limits::default() };
    let (actions, ..) = play(&limits, 120, Card { idle_watts: 240.0, ..Card::new() }, |_, _| ());
    assert!(matches!(actions.last(), Some(Action::HandOver { reason: Reason::Power { .. } })), "{:?}", actions.last());
    assert_eq!(hand_overs(&actions), 1, "it does not flap");
}

#[test]
fn utilisation__should_be_a_ceiling() {
    let limits = Limits { max_utilisation_percent: 40, ..Limits::default() };
    let (actions, ..) = play(&limits, 60, Card::new(), |_, _| ());
    assert!(actions.iter().all(|action| *action == Action::Throttle { share: Share::percent(40) }));
}

#[test]
fn hours__should_refuse_first_and_hand_over_before_they_end() {
    let limits = Limits { hours: vec!["mon-fri 22:00-06:00".parse().unwrap()], ..Limits::default() };
    let readings = Readings { devices: Vec::new(), others_percent: None, free_disk_mib: Some(1 << 20) };
    let at = |day, hour: u16, minute| {
        let state = State::new(&limits, TimestampMs(0));
        decide(&limits, &state, &readings, TimestampMs(0), MinuteOfWeek::new(day, hour * 60 + minute)).1
    };
    assert_eq!(at(1, 5, 49), Action::Full);
    assert_eq!(at(1, 5, 50), Action::Refuse { share: Share::FULL, reason: Reason::Hours });
    assert_eq!(at(1, 5, 58), Action::Refuse { share: Share::FULL, reason: Reason::Hours });
    assert_eq!(at(1, 5, 59), Action::HandOver { reason: Reason::Hours });
    assert_eq!(at(1, 12, 0), Action::HandOver { reason: Reason::Hours });
    assert_eq!(at(1, 22, 0), Action::Full);
    assert_eq!(at(6, 23, 0), Action::HandOver { reason: Reason::Hours });
}

#[test]
fn use_by_others__should_stop_work_until_the_machine_was_idle_long_enough() {
    let limits = Limits { idle_only_minutes: Some(5), ..Limits::default() };
    let mut state = State::new(&limits, TimestampMs(0));
    let mut act = |second: u64, others: u8| {
        let readings = Readings { devices: Vec::new(), others_percent: Some(others), free_disk_mib: Some(1 << 20) };
        let (next, action) = decide(&limits, &state, &readings, TimestampMs(second * 1_000), noon());
        state = next;
        action
    };
    assert!(matches!(act(0, 0), Action::HandOver { reason: Reason::InUse { minutes: 5 } }), "nobody knows what was before");
    assert!(matches!(act(299, 0), Action::HandOver { .. }));
    assert_eq!(act(300, 0), Action::Full);
    assert_eq!(act(301, 90), Action::Full, "one reading is a blip");
    assert_eq!(act(302, 2), Action::Full);
    act(303, 40);
    assert!(matches!(act(304, 40), Action::HandOver { .. }));
    assert!(matches!(act(603, 0), Action::HandOver { .. }));
    assert_eq!(act(604, 0), Action::Full);
}

#[test]
fn disk__should_refuse_new_work_before_it_is_full() {
    let limits = Limits { min_free_disk_mib: 1_000, ..Limits::default() };
    let at = |free| {
        let readings = Readings { devices: Vec::new(), others_percent: None, free_disk_mib: Some(free) };
        decide(&limits, &State::new(&limits, TimestampMs(0)), &readings, TimestampMs(0), noon()).1
    };
    assert_eq!(at(1_250), Action::Full);
    assert!(matches!(at(1_249), Action::Refuse { reason: Reason::Disk { free_mib: 1_249, least_mib: 1_000 }, .. }));
    assert!(matches!(at(999), Action::HandOver { reason: Reason::Disk { .. } }));
}

#[test]
fn missing_reading__should_never_be_taken_for_a_good_one() {
    let bare = |name: &str| Device { name: name.to_owned(), ..Device::default() };
    let limits = [
        (Limits { max_temperature_celsius: Some(80), ..Limits::default() }, LimitName::MaxTemperatureCelsius),
        (Limits { max_power_watts: Some(80), ..Limits::default() }, LimitName::MaxPowerWatts),
        (Limits { idle_only_minutes: Some(1), ..Limits::default() }, LimitName::IdleOnlyMinutes),
        (Limits::default(), LimitName::MinFreeDiskMib),
    ];
    for (limits, limit) in limits {
        for devices in [Vec::new(), vec![bare("card")]] {
            let (mut state, readings) = (State::new(&limits, TimestampMs(0)), Readings { devices, ..Readings::default() });
            for second in 100..=115 {
                let (next, action) = decide(&limits, &state, &readings, TimestampMs(second * 1_000), noon());
                assert_eq!(action.refusal(), Some(&Reason::NoReading { limit }), "{second}");
                assert_eq!(action.share().is_none(), second == 115, "{action:?} at {second}");
                state = next;
            }
        }
    }
}

/// Every sequence of readings, however wild, gives a share within its bounds and a stop at the limit.
#[test]
fn decide__should_stop_at_every_reading_at_or_over_a_limit() {
    let limits = Limits { max_temperature_celsius: Some(70), max_power_watts: Some(200), max_utilisation_percent: 80, ..Limits::default() };
    let mut state = State::new(&limits, TimestampMs(0));
    let mut seed = 7_u64;
    for second in 0..20_000_u64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let celsius = u16::try_from(seed >> 33 & 127).unwrap();
        let watts = u32::try_from(seed >> 43 & 255).unwrap();
        let device = Device {
            name: format!("card {}", seed >> 60 & 1),
            temperature_celsius: Some(celsius),
            power_watts: Some(watts),
            utilisation_percent: None,
            memory_used_mib: None,
        };
        let readings = Readings { devices: vec![device], others_percent: None, free_disk_mib: Some(1 << 20) };
        let (next, action) = decide(&limits, &state, &readings, TimestampMs(second * 1_000), noon());
        if celsius >= 70 || watts > 200 {
            assert!(matches!(action, Action::HandOver { .. }), "{celsius} degrees, {watts} W: {action:?}");
        }
        assert!(action.share().is_none_or(|share| (10..=80).contains(&share.as_percent())), "{action:?}");
        state = next;
    }
}
