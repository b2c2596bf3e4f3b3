//! Shows that hosts which share nothing but a network answer together what one answers: each is a network namespace and a mount
//! namespace with a /dev/shm of its own, joined by a bridge in a namespace of the test.
//!
//! The test starts itself in the outer namespaces, as the coordinator ([`inside`]), and once more in those of each host, to load its
//! part of the tables and become the worker ([`host`]).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use faretra::{Arena, GIB};
use faretra_distributed::Coordinator;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{alone, answer, dealt, publish, within};
use crate::tpch::{queries, tables};

/// `SCALE ROWS ROUNDS` of the tests in the outer namespaces.
const INSIDE: &str = "FARETRA_TEST_INSIDE";
/// `HOST HOSTS SCALE ROWS` of the process that becomes a worker.
const HOST: &str = "FARETRA_TEST_HOST";
const TOKEN: &str = "namespaces";

/// Runs [`inside`] in namespaces, if they may be made here.
fn run(test: &str, settings: &str) {
    let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let bridge = "ip link add br0 type bridge && ip link add v0 type veth peer name v1";
    let allowed = Command::new("unshare").args(namespaces).args(["sh", "-c", bridge]).output();
    let refused = match allowed {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        Err(e) => Some(format!("no `unshare`: {e}")),
    };
    if let Some(why) = refused {
        eprintln!("SKIPPED {test}: no namespaces of network, mounts and processes: {why}");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(namespaces).arg(std::env::current_exe().unwrap());
    command.args(["hosts::inside", "--exact", "--ignored", "--nocapture"]).env(INSIDE, settings);
    assert!(command.status().unwrap().success(), "see above");
}

/// Shows it at scale 0.002.
#[test]
fn hosts_in_namespaces_answer_together() {
    run("hosts_in_namespaces_answer_together", "0.002 500 0");
}

/// Prints the times: `cargo test --release -p faretra-distributed --test it -- --ignored --nocapture times`.
#[test]
#[ignore = "takes minutes and 6 GB: scale 1, with times"]
fn times_by_the_number_of_hosts() {
    run("times_by_the_number_of_hosts", "1 65536 3");
}

fn sh(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A host: a shell that has the namespaces, and the worker in it.
struct Namespaced {
    shell: Child,
    _stdin: ChildStdin,
    worker: Pid,
    address: String,
}

impl Namespaced {
    fn start(host: usize, hosts: usize, settings: &[&str], token: &Path) -> Namespaced {
        // Waits for its end of the cable; outlives the worker, so that the arena can be looked at.
        let script = "mount -t tmpfs -o size=6g tmpfs /dev/shm; read -r _; ip link set lo up; \
                      ip addr add \"$ADDRESS/16\" dev eth0; ip link set eth0 up; \"$@\" & echo \"worker $!\"; read -r _";
        // Those of hosts that were before may be there for a while.
        let (address, cable) = (format!("10.77.{hosts}.{}", 10 + host), format!("v{hosts}-{host}"));
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-ec", script, "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["hosts::host", "--exact", "--ignored", "--nocapture"]);
        command.env(HOST, format!("{host} {hosts} {} {}", settings[0], settings[1]));
        command.env("ADDRESS", &address).env("TOKEN", token).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let pid = shell.id();
        // The shell has its namespaces when it has its tmpfs.
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap() == own {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        sh(&format!(
            "ip link add {cable} type veth peer name eth0 netns {pid}; ip link set {cable} master br0; ip link set {cable} up"
        ));
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut worker = None;
        for line in BufReader::new(shell.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(pid) = line.strip_prefix("worker ") {
                worker = Some(Pid::from_raw(pid.parse().unwrap()));
            }
            if let (Some((_, address)), Some(worker)) = (line.split_once(" at http://"), worker) {
                return Namespaced { shell, _stdin: stdin, worker, address: address.to_owned() };
            }
        }
        let _ = shell.kill();
        let ended = shell.wait();
        panic!("host {host} did not start: {ended:?}");
    }
}

impl Drop for Namespaced {
    fn drop(&mut self) {
        // One that has ended is as it should be.
        let _ = kill(self.worker, Signal::SIGKILL);
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Loads a host's part of the tables, and becomes its worker.
#[test]
#[ignore = "run by the other tests, in the namespaces of a host"]
fn host() {
    let Ok(settings) = std::env::var(HOST) else { return };
    let settings: Vec<&str> = settings.split(' ').collect();
    let (host, hosts) = (settings[0].parse().unwrap(), settings[1].parse().unwrap());
    let arena = Arena::options().limit(5 * GIB).create("tpch").unwrap();
    for (name, batches) in tables(settings[2].parse().unwrap(), settings[3].parse().unwrap()) {
        publish(&arena, name, &dealt(&batches, host, hosts));
    }
    drop(arena);
    let (address, token) = (std::env::var("ADDRESS").unwrap(), std::env::var("TOKEN").unwrap());
    let mut worker = Command::new(env!("CARGO_BIN_EXE_faretra-distributed"));
    worker
        .args(["worker", "tpch", "--token-file", &token, "--listen", &format!("{address}:50061")])
        .stderr(Stdio::null());
    panic!("{}", worker.exec());
}

async fn milliseconds(session: &SessionContext, sql: &str) -> (Vec<String>, f64) {
    let begun = Instant::now();
    let answered = answer(session, sql).await;
    (answered, begun.elapsed().as_secs_f64() * 1e3)
}

/// The coordinator, in the namespaces of the test.
#[test]
#[ignore = "run by the other tests, in namespaces"]
fn inside() {
    let Ok(settings) = std::env::var(INSIDE) else { return };
    let settings: Vec<&str> = settings.split(' ').collect();
    let rounds: usize = settings[2].parse().unwrap();
    sh("ip link set lo up; ip link add br0 type bridge; ip addr add 10.77.0.1/16 dev br0; ip link set br0 up");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), TOKEN).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut expected: Vec<Vec<String>> = vec![];
        {
            let one = alone(&tables(settings[0].parse().unwrap(), settings[1].parse().unwrap()));
            for (_, sql) in queries() {
                expected.push(answer(&one, sql).await);
            }
        }
        if rounds > 0 {
            eprintln!(
                "hosts  {}      sum",
                queries().iter().map(|(n, _)| format!("   Q{n:02} ms")).collect::<String>()
            );
        }
        // One host is for the times: what it answers, the other tests show.
        for hosts in if rounds > 0 { 1..=3 } else { 2..=3 } {
            let hosted: Vec<Namespaced> =
                (0..hosts).map(|host| Namespaced::start(host, hosts, &settings, token.path())).collect();
            let coordinator = Coordinator::new(hosted.iter().map(|host| &host.address)).token(TOKEN);
            let session = within(coordinator.connect()).await.unwrap();
            let mut line = String::new();
            let mut sum = 0.0;
            for ((number, sql), expected) in queries().iter().zip(&expected) {
                let (got, mut best) = milliseconds(&session, sql).await;
                assert_eq!(&got, expected, "query {number} on {hosts} hosts");
                for _ in 0..rounds {
                    best = milliseconds(&session, sql).await.1.min(best);
                }
                line += &format!("{best:9.1}");
                sum += best;
            }
            if rounds > 0 {
                eprintln!("{hosts:5}  {line}{sum:9.1}");
            }
            if hosts > 1 {
                one_is_killed(&session, hosted.last().unwrap()).await;
            }
        }
    });
}

/// Shows that the death of a host's worker in the middle of a query is an error, and leaves its arena sound.
async fn one_is_killed(session: &SessionContext, host: &Namespaced) {
    let why = within(async {
        let sql = "SELECT a.l_orderkey, b.l_orderkey FROM lineitem a CROSS JOIN lineitem b";
        let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut rows = execute_stream(plan, session.task_ctx()).unwrap();
        assert!(rows.next().await.expect("rows come").is_ok());
        kill(host.worker, Signal::SIGKILL).unwrap();
        loop {
            match rows.next().await {
                Some(Ok(_)) => {}
                Some(Err(e)) => return e.to_string(),
                None => panic!("the rows ended, as if they were all"),
            }
        }
    })
    .await;
    assert!(why.contains(&host.address), "{why}");
    let dir = format!("/proc/{}/root/dev/shm", host.shell.id());
    let arena = Arena::options().dir(dir).open("tpch").unwrap();
    arena.recover().unwrap();
    let violations = arena.verify().unwrap();
    assert!(violations.is_empty(), "{violations:?}");
}
