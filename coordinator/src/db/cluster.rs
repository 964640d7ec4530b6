//! For tests: a private PostgreSQL in a temporary folder, of a user without rights, gone when the tests end.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Makes the cluster, serves it, and removes it when standard input ends: when the tests' process is gone, however it went.
const SERVE: &str = r#"
bin=$1 folder=$2
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$folder"; lesser="setpriv --reuid 65534 --regid 65534 --clear-groups"; fi
$lesser "$bin/initdb" -D "$folder/data" -A trust -U starling --no-sync --encoding UTF8 --locale C >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
$lesser "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=200 >>"$folder/log" 2>&1 &
cat >/dev/null
kill -QUIT $!
wait
rm -rf "$folder"
"#;

struct Cluster {
    folder: PathBuf,
    /// Its standard input ends with this process.
    _server: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The address of a new, empty database.
pub(crate) async fn new_database() -> String {
    sqlx::any::install_default_drivers();
    let cluster = CLUSTER.get_or_init(start);
    let address = |name: &str| format!("postgres://starling@localhost/{name}?host={}", cluster.folder.display());
    let started = Instant::now();
    let admin = loop {
        match <sqlx::AnyConnection as sqlx::Connection>::connect(&address("postgres")).await {
            Ok(admin) => break Ok(admin),
            Err(error) if started.elapsed() > Duration::from_secs(30) => break Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut admin.expect("PostgreSQL answers")).await.expect("a database is made");
    address(&name)
}

fn start() -> Cluster {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let server = Command::new("sh").args(["-c", SERVE, "sh"]).arg(programs()).arg(&folder).stdin(Stdio::piped()).spawn();
    Cluster { folder, _server: server.expect("a shell starts") }
}

/// Debian keeps the server's programs out of the way of ordinary commands.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let found = versions.filter(|bin| bin.join("initdb").exists()).max();
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|bin: &PathBuf| Path::exists(&bin.join("initdb")));
    found.or_else(on_path).expect("PostgreSQL is missing: run `./bootstrap setup test`")
}
