//! A run whose recipe writes updates in two bits and paces steps, with a node that is slower than the others.

use crate::{
    amount, assert_sums,
    chaos::signal,
    place_of_node_2, pull,
    running::{Running, said, succeed},
    status,
};
use serde_json::Value;
use starling_rounds::{
    Codec, Outcome, RoundRecord,
    recipe::{InnerSteps, OptimizerKind},
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const ROUNDS: u32 = 5;
const INNER_STEPS: u32 = 160;
/// Of `tiny`: four windows of 32 bytes.
const TOKENS_PER_STEP: u64 = 128;

/// A process that has a quarter of the time, until this is dropped.
struct Hobbled {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hobbled {
    fn new(pid: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                signal("-STOP", &pid);
                std::thread::sleep(Duration::from_millis(75));
                signal("-CONT", &pid);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Hobbled {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Round and root of each line in which a node says that it signed.
pub(crate) fn signed(home: &Path, node: &str) -> Vec<(u32, String)> {
    let log = fs::read_to_string(home.join(format!("logs/{node}.log"))).expect("it has a log");
    let field = |line: &str, name: &str| Some(line.split_once(&format!(" {name}="))?.1.split(' ').next()?.trim_matches('"').to_owned());
    let of = |line: &str| Some((field(line, "round")?.parse().ok()?, field(line, "state_root")?));
    log.lines().filter_map(of).collect()
}

#[test]
fn paced_run__should_agree_on_its_roots_and_pay_what_was_assigned() {
    let system = Running::start(3);
    let home = system.home();
    let recipe = system.recipe_with(ROUNDS, INNER_STEPS, |recipe| {
        recipe.optimizer.method = OptimizerKind::Muon { momentum: 0.95 };
        recipe.schedule.peak_learning_rate = 2e-3;
        (recipe.outer.codec, recipe.outer.inner_steps) = (Codec::TwoBit, InnerSteps::Paced);
    });
    let slow = Hobbled::new(fs::read_to_string(home.join("node-2/pid")).expect("the process is known"));
    let mut training = system.train(&recipe, &[]);
    let run_id = training.run_id();
    training.finish();
    drop(slow);

    let (folder, _) = pull(home, &run_id);
    let proof = folder.join("proof");
    let rounds: Value = serde_json::from_slice(&fs::read(proof.join("rounds.json")).expect("the list was written")).expect("JSON");
    let artifact = |hash: &Value| fs::read(proof.join(hash.as_str().expect("a hash"))).expect("the artifact was written");
    let (mut assigned, mut credited, mut accepted) = ([0_u64; 3], [0_u64; 3], 0);
    for (number, round) in rounds.as_array().expect("rounds").iter().enumerate() {
        let record: RoundRecord = borsh::from_slice(&artifact(&round["record"])).expect("a record");
        for entry in &record.entries {
            let (place, tokens) = (usize::from(entry.participant), u64::from(entry.assigned_tokens));
            let steps = tokens / TOKENS_PER_STEP;
            assert!(tokens % TOKENS_PER_STEP == 0 && (1..=u64::from(INNER_STEPS)).contains(&steps), "{tokens}");
            assert!(number > 0 || steps == u64::from(INNER_STEPS / 4), "a new node shows its pace with a quarter, not {steps}");
            // Now and then the gate refuses honest work of a few steps: it is not paid.
            let is_accepted = matches!(entry.outcome, Outcome::Accepted { .. });
            let paid = if is_accepted { tokens } else { 0 };
            assert_eq!(round["statement"]["tokens"][place], paid, "round {number}: {:?}", entry.outcome);
            assigned[place] += tokens;
            credited[place] += paid;
            accepted += u32::from(is_accepted);
        }
        for update in round["updates"].as_array().expect("updates").iter().filter(|update| !update.is_null()) {
            assert_eq!(&artifact(update)[..4], b"SU2\0", "in two bits");
        }
    }

    assert!(accepted > 2 * ROUNDS, "{accepted} updates were accepted");

    let view = status(home, &run_id);
    assert_eq!(view["run"]["state"]["ending"], "finished", "{}", view["run"]["state"]);
    let roster = view["run"]["roster"].as_array().expect("a roster");
    assert!(roster.iter().zip(credited).all(|(member, tokens)| member["tokens"] == tokens), "{credited:?} in {roster:?}");
    let slowest = assigned[place_of_node_2(&view)];
    assert!(assigned.iter().filter(|tokens| **tokens > slowest).count() == 2, "the slow node was given less: {assigned:?}");

    let verified = said(&succeed(home, &["verify", &run_id, "--artifacts", &proof.display().to_string()]), "verified");
    assert_eq!((&verified["rounds"], &verified["accepted_tokens"]), (&ROUNDS.into(), &credited.iter().sum::<u64>().into()));
    assert!(amount(&verified["refunded"]) > 0, "what was not worked comes back");
    assert_sums(&verified);

    let signed: Vec<(u32, String)> = ["node-1", "node-2", "node-3"].iter().flat_map(|node| signed(home, node)).collect();
    let roots: BTreeSet<&(u32, String)> = signed.iter().collect();
    assert_eq!(roots.len(), ROUNDS as usize, "one root for each round: {signed:?}");
    assert!(signed.len() >= 2 * ROUNDS as usize, "{signed:?}");
}
