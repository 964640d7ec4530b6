//! `starling schedule`: work that is ordered once and done at its times, by a program that the tenant runs and within what the tenant set.

mod deal;
mod occurrence;
mod serve;
mod store;

use crate::{
    api::Api,
    commands::base,
    corpus::corpus_for,
    home::Home,
    job::{prepare, rent},
    output::Output,
    profile::Context,
    train::now,
};
use anyhow::{Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use starling_http_api::job::JobSpec;
use starling_primitives::{Amount, AssetName, TimestampMs};
use starling_protocol::price::cost_of_tokens;
use starling_rounds::recipe::Recipe;
use starling_schedules::{Missed, Outcome, Schedule, Skipped, When, checked_name, local_zone, shown};
use std::path::PathBuf;
use store::{Order, ScriptOrder, Store, TrainingOrder};

#[derive(Args, Debug)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    order: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Upload a script and say when it runs and what it may cost.
    Add(AddArgs),
    /// Say what is trained over the network, when, and what it may cost.
    Train(TrainArgs),
    /// Show all schedules, what each has spent, when it runs next and what it did.
    List,
    /// Rest: what is due meanwhile is not made up for. What runs goes on.
    Pause {
        /// Its name.
        name: String,
    },
    /// Go on from now.
    Resume {
        /// Its name.
        name: String,
    },
    /// Forget a schedule; what its runs gave stays in its folder.
    Remove {
        /// Its name.
        name: String,
    },
    /// Run what is due, until interrupted. What is under way goes on at the next start, and nothing is paid twice.
    Serve,
    /// Print a systemd unit that keeps `serve` running.
    Unit {
        /// The system's user that runs it.
        #[arg(long, default_value = "starling")]
        user: String,
    },
}

#[derive(Args, Debug)]
struct AddArgs {
    /// A name for it: a-z, 0-9 and -.
    name: String,
    /// Folder, archive, script or notebook; uploaded now, so that each run does the same.
    path: PathBuf,
    #[command(flatten)]
    what: prepare::What,
    /// The most hours that one run may take, setting up included, instead of the job file's minutes.
    #[arg(long)]
    hours: Option<f64>,
    #[command(flatten)]
    times: Times,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args, Debug)]
struct TrainArgs {
    /// A name for it: a-z, 0-9 and -.
    name: String,
    /// File or folder with the text, read anew each time.
    data: PathBuf,
    /// A preset's name or a TOML file, read now.
    #[arg(long, default_value = "rust-small")]
    recipe: String,
    /// Start from a published model that you may use, in its last version each time, instead of fresh weights.
    #[arg(long)]
    from: Option<AssetName>,
    /// At most so many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// At least so many.
    #[arg(long, default_value_t = 1)]
    min_nodes: u16,
    /// The most NEAR that a million accepted tokens may cost.
    #[arg(long, value_parser = Amount::parse_near, default_value = "0.5")]
    price: Amount,
    #[command(flatten)]
    times: Times,
}

/// When something runs, and what it may cost.
#[derive(Args, Debug)]
struct Times {
    /// Run once, at a time such as 2026-11-22T06:00 (of --zone) or 2026-11-22T06:00Z.
    #[arg(long, required_unless_present = "cron", conflicts_with = "cron")]
    at: Option<String>,
    /// Run again and again: minute, hour, day of the month, month, day of the week, as in "30 6 * * mon-fri".
    #[arg(long)]
    cron: Option<String>,
    /// The time zone that is meant, such as Europe/Berlin [default: this machine's].
    #[arg(long)]
    zone: Option<String>,
    /// The most NEAR that one run may cost.
    #[arg(long, value_parser = Amount::parse_near)]
    each: Amount,
    /// The most NEAR that all runs together may cost.
    #[arg(long, value_parser = Amount::parse_near)]
    budget: Amount,
    /// What becomes of times at which nobody served.
    #[arg(long, value_enum, default_value_t = IfMissed::Skip)]
    missed: IfMissed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum IfMissed {
    /// They pass.
    Skip,
    /// The last of them is made up for.
    Once,
}

pub(crate) async fn schedule(home: &Home, context: impl FnOnce() -> Result<Context>, args: &ScheduleArgs, out: Output) -> Result<()> {
    let store = Store::open(home.join("schedules"))?;
    match &args.order {
        Command::Add(args) => add(&store, &context()?, args, out).await,
        Command::Train(args) => train(&store, &context()?, args, out).await,
        Command::List => list(&store, out),
        Command::Pause { name } => set_paused(&store, name, true, out),
        Command::Resume { name } => set_paused(&store, name, false, out),
        Command::Remove { name } => remove(&store, name, out),
        Command::Serve => serve::serve(&store, context()?, out).await,
        Command::Unit { user } => {
            print!("{}", unit(home, user)?);
            Ok(())
        }
    }
}

async fn add(store: &Store, context: &Context, args: &AddArgs, out: Output) -> Result<()> {
    let new = args.times.read(store, &args.name)?;
    let prepared = prepare::Prepared::read(&args.path, &args.what, out)?;
    prepared.show(out);
    // What `serve` could not do is said now.
    rent::wish(&prepared.job, Some(args.times.each), args.hours, None)?;
    context.check_network().await?;
    if !args.yes && !prepared.confirm(out)? {
        bail!("nothing was sent and nothing is scheduled");
    }
    let api = Api::of(context)?;
    let script = prepared.upload(&api, out).await?;
    let job = api.upload(&serde_json::to_vec(&JobSpec::Script(script))?).await?;
    new.store(store, &Order::Script(ScriptOrder { job, file: prepared.job, hours: args.hours }), out)
}

async fn train(store: &Store, context: &Context, args: &TrainArgs, out: Output) -> Result<()> {
    let new = args.times.read(store, &args.name)?;
    let recipe = crate::up::job::recipe(&args.recipe)?;
    ensure!((1..=args.nodes).contains(&args.min_nodes), "--min-nodes is 1 or more, and no more than --nodes");
    let most = cost_of_tokens(args.price, recipe.total_tokens().saturating_mul(u64::from(args.nodes)))?;
    ensure!(
        most <= args.times.each,
        "{} rounds on {} nodes cost up to {}, and --each is {}: raise it, or lower --nodes or --price",
        recipe.rounds,
        args.nodes,
        most.display_near(),
        args.times.each.display_near()
    );
    corpus_for(&recipe, &args.data)?;
    let data = args.data.canonicalize()?;
    context.check_network().await?;
    base(context, args.from.as_ref()).await?;
    let order = TrainingOrder {
        recipe,
        fit: Recipe::is_preset(&args.recipe),
        data,
        from: args.from.clone(),
        min_nodes: args.min_nodes,
        max_nodes: args.nodes,
        price_per_million_tokens: args.price,
    };
    new.store(store, &Order::Training(Box::new(order)), out)
}

/// A schedule that is possible, and not stored yet.
struct New<'a> {
    name: &'a str,
    zone: String,
    first: TimestampMs,
    schedule: Schedule,
}

impl Times {
    fn read<'a>(&self, store: &Store, name: &'a str) -> Result<New<'a>> {
        let name = checked_name(name)?;
        ensure!(!store.exists(name), "there is a schedule {name} already: remove it, or choose another name");
        ensure!(self.each <= self.budget && !self.each.is_zero(), "--each is more than nothing, and no more than --budget");
        let zone = self.zone.clone().unwrap_or_else(local_zone);
        let when = match (&self.cron, &self.at) {
            (Some(line), _) => When::cron(line, &zone)?,
            (None, Some(at)) => When::at(at, &zone)?,
            (None, None) => bail!("say when: --at or --cron"),
        };
        // What comes while something is uploaded is not lost.
        let asked = now();
        let Some(first) = when.next(asked)? else { bail!("that time has passed: choose another --at") };
        let missed = if matches!(self.missed, IfMissed::Once) { Missed::Once } else { Missed::Skip };
        Ok(New { name, zone, first, schedule: Schedule::new(when, self.each, self.budget, missed, asked) })
    }
}

impl New<'_> {
    fn store(&self, store: &Store, order: &Order, out: Output) -> Result<()> {
        let Self { name, zone, first, schedule } = self;
        store.add(name, order, schedule)?;
        let spending = &schedule.spending;
        out.say(
            "schedule_added",
            &json!({"name": name, "next": first, "zone": zone}),
            &format!(
                "{name} runs first at {}, for {} at most each time and {} in all. `starling schedule serve` must run then (`starling schedule unit` keeps it running).",
                shown(*first, zone),
                spending.each.display_near(),
                spending.budget.display_near()
            ),
        );
        Ok(())
    }
}

fn list(store: &Store, out: Output) -> Result<()> {
    let names = store.names()?;
    if names.is_empty() {
        out.note("There is no schedule. `starling schedule add` makes one.");
    }
    for name in names {
        let schedule = store.read(&name)?;
        let next = if schedule.paused { None } else { schedule.when.next(schedule.decided.max(now()))? };
        let order = store.order(&name)?;
        let line = words(&name, &order, &schedule, next);
        out.say("schedule", &json!({"name": name, "order": order, "schedule": schedule, "next": next}), &line);
    }
    Ok(())
}

fn words(name: &str, order: &Order, schedule: &Schedule, next: Option<TimestampMs>) -> String {
    let zone = schedule.when.zone();
    let spending = &schedule.spending;
    let when = match (schedule.paused, schedule.running, next) {
        (_, Some(at), _) => format!("runs since {}", shown(at, zone)),
        (true, ..) => "paused".to_owned(),
        (_, _, Some(_)) if !spending.covers_one_more() => "stopped: its budget does not cover one more run".to_owned(),
        (_, _, Some(next)) => format!("next {}", shown(next, zone)),
        (_, _, None) => "over".to_owned(),
    };
    let mut lines = vec![format!(
        "{name} {}: {}; {when}; spent {} of {}, {} at most each time",
        order.words(),
        schedule.when,
        spending.spent.display_near(),
        spending.budget.display_near(),
        spending.each.display_near()
    )];
    for ended in schedule.past.iter().rev().take(5) {
        let what = match &ended.outcome {
            Outcome::Done => format!("done, {}", ended.cost.display_near()),
            Outcome::Failed(why) => format!("failed: {why}"),
            Outcome::Skipped { why, count } => {
                let why = match why {
                    Skipped::Overlap => "the run before went on",
                    Skipped::Missed => "nobody served",
                    Skipped::Budget => "the budget did not cover it",
                };
                format!("skipped {count}: {why}")
            }
        };
        lines.push(format!("  {}  {what}", shown(ended.at, zone)));
    }
    lines.join("\n")
}

fn set_paused(store: &Store, name: &str, paused: bool, out: Output) -> Result<()> {
    store.change(name, |schedule| {
        schedule.set_paused(paused, now());
        Ok(())
    })?;
    let word = if paused { "rests" } else { "goes on" };
    out.say("schedule_paused", &json!({"name": name, "paused": paused}), &format!("{name} {word}."));
    Ok(())
}

fn remove(store: &Store, name: &str, out: Output) -> Result<()> {
    store.remove(name)?;
    out.say(
        "schedule_removed",
        &json!({"name": name}),
        &format!("{name} is removed; what its runs gave lies in {}.", store.folder(name).display()),
    );
    Ok(())
}

fn unit(home: &Home, user: &str) -> Result<String> {
    let quoted = |path: &std::path::Path| {
        format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$"))
    };
    let (program, folder) = (quoted(&std::env::current_exe()?), quoted(home.path()));
    Ok(format!(
        "\
[Unit]
Description=Starling schedules
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={program} --home {folder} schedule serve
User={user}
Restart=always
RestartSec=10
KillSignal=SIGINT

# It writes to its own folder and nowhere else, and needs no right of the system.
ProtectSystem=strict
ReadWritePaths={folder}
PrivateTmp=yes
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
"
    ))
}
