//! Tests of who computes a part of a round.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use axum::{Json, Router, http::StatusCode, routing::post};
use starling_primitives::{DurationMs, TimestampMs};
use starling_rounds::{Codec, Layout, OuterConfig, OuterState, TensorShape, recipe::Recipe};

/// Its rows stay as long as a test may take.
const FAR: DurationMs = DurationMs::from_hours(1);

async fn served(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn part_of_a_round__should_be_computed_in_turn_and_here_where_nobody_answers() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
    let compute = Compute::new(Artifacts::local(dir.path(), db.clone()).unwrap(), db.clone());
    let layout = Layout::new(vec![TensorShape { name: "a".to_owned(), shape: vec![20, 30] }]).unwrap();
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.5; 600]).unwrap();
    let update = Codec::Int4.encode(&layout, &vec![0.1; 600], &mut vec![0.0; 600]).unwrap();
    let (state, update) = (compute.artifacts.put(state.to_bytes()).await.unwrap(), compute.artifacts.put(update).await.unwrap());
    let recipe = Recipe::preset("tiny").unwrap().canonical_json().into_bytes();
    let (recipe, missing) = (compute.artifacts.put(recipe).await.unwrap(), Hash32([7; 32]));
    let task = |run_id| {
        let updates =
            [update, missing, update].iter().zip(0..).map(|(update, place)| PlacedUpdate { place, update: *update, steps: None }).collect();
        Task::Inspect { run_id: RunId(run_id), recipe, state, updates }
    };
    let mine = Answer::Inspected { valid: vec![0], refused: BTreeMap::from([(1, Refusal::Late), (2, Refusal::Copied)]) };
    assert_eq!(compute.divide(task(1)).await.unwrap(), mine, "nobody stands by");

    // Its answer is another's, so that it is known from whom it is.
    let theirs = Answer::Inspected { valid: vec![0, 1, 2], refused: BTreeMap::new() };
    let answer = theirs.clone();
    let other = served(Router::new().route(PATH, post(async move |Json(_): Json<Task>| Json(answer)))).await;
    db.stand_by(&other.to_string(), clock::now(), FAR).await.unwrap();
    assert_eq!(compute.divide(task(1)).await.unwrap(), theirs);
    assert_eq!(compute.divide(task(2)).await.unwrap(), mine, "every second run is computed here");
    db.stop_standing_by(&other.to_string()).await.unwrap();

    let short = served(Router::new().route(PATH, post(async || Json(Answer::Inspected { valid: vec![], refused: BTreeMap::new() })))).await;
    let failing = served(Router::new().route(PATH, post(async || StatusCode::INTERNAL_SERVER_ERROR))).await;
    let gone = SocketAddr::from(([127, 0, 0, 1], 1));
    for useless in [short, failing, gone] {
        db.stand_by(&useless.to_string(), clock::now(), FAR).await.unwrap();
        assert_eq!(compute.divide(task(1)).await.unwrap(), mine, "{useless}");
        db.stop_standing_by(&useless.to_string()).await.unwrap();
    }
    db.stand_by("10.0.0.1:81", TimestampMs(1), DurationMs::from_secs(1)).await.unwrap();
    assert_eq!(db.standing_by(clock::now()).await.unwrap(), Vec::<String>::new(), "who does not renew its row is gone");
}
