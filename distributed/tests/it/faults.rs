//! Shows what a statement says when a worker dies, falls silent or is not there, when an arena is gone, and when names are published
//! again under a plan; and that arenas are sound afterwards.

use std::time::Duration;

use datafusion::physical_plan::{collect, execute_stream};
use datafusion::prelude::SessionContext;
use faretra_distributed::Coordinator;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Cluster, Host, answer, batches, publish, refusal, rows, run, within};

/// Rows by the million, from both hosts.
const ENDLESS: &str = "SELECT a.id, b.id FROM t a CROSS JOIN t b";

/// Reads the first rows of [`ENDLESS`], does something, and returns why no more rows come.
async fn in_the_middle(session: &SessionContext, act: impl FnOnce()) -> String {
    within(async {
        let plan = session.sql(ENDLESS).await.unwrap().create_physical_plan().await.unwrap();
        let mut rows = execute_stream(plan, session.task_ctx()).unwrap();
        assert!(rows.next().await.expect("rows come").is_ok());
        act();
        loop {
            match rows.next().await {
                Some(Ok(_)) => {}
                Some(Err(e)) => return e.to_string(),
                None => panic!("the rows ended, as if they were all"),
            }
        }
    })
    .await
}

/// Shows that the death of a worker in the middle of a query is an error that names it, that its arena is sound, and that the
/// statement is answered once a worker is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_in_the_middle() {
    for hosts in [2, 3] {
        let mut cluster = Cluster::new(hosts, &[("t", batches(6, 2000))], &[]);
        let session = cluster.session().await;
        let mut victim = cluster.workers.pop().unwrap();
        let address = victim.address.clone();
        let why = in_the_middle(&session, || victim.kill()).await;
        assert!(why.contains(&address) && why.contains("went away"), "{why}");
        for host in &cluster.hosts {
            host.assert_sound("air");
        }
        let why = refusal(&session, "SELECT count(*) FROM t WHERE id > 1").await;
        assert!(why.contains(&address), "{why}");
        let again = cluster.hosts[hosts - 1].work_at(address.trim_start_matches("http://"), &["air"]);
        assert_eq!(again.address, address);
        assert_eq!(answer(&session, "SELECT count(*) AS n FROM t WHERE id >= 2000").await[3], "| 10000 |");
    }
}

/// Shows that a worker that falls silent in the middle is given up, and that it works again when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_falls_silent_in_the_middle() {
    let cluster = Cluster::new(2, &[("t", batches(6, 2000))], &[]);
    let session = cluster.session().await;
    let pid = Pid::from_raw(cluster.workers[1].pid().try_into().unwrap());
    let why = in_the_middle(&session, || kill(pid, Signal::SIGSTOP).unwrap()).await;
    assert!(why.contains(&cluster.workers[1].address), "{why}");
    kill(pid, Signal::SIGCONT).unwrap();
    // A statement may still meet a connection that was given up just then, and says that it can be run again.
    let count = "SELECT count(*) AS n FROM t WHERE id >= 2000";
    for _ in 0..50 {
        if run(&session, count).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(answer(&session, count).await[3], "| 10000 |");
    for host in &cluster.hosts {
        host.assert_sound("air");
    }
}

/// Shows that a plan reads what was current when it was made, though the name is published again before it is executed.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_the_version_that_it_was_made_of() {
    let cluster = Cluster::new(2, &[("t", vec![rows(0, 10), rows(10, 20)])], &[]);
    let session = cluster.session().await;
    let sql = "SELECT count(*) AS n, sum(id) AS s FROM t WHERE id >= 0";
    let plan = within(async { session.sql(sql).await?.create_physical_plan().await }).await.unwrap();
    publish(&cluster.hosts[1].options().open("air").unwrap(), "t", &[rows(100, 200)]);
    let old = within(collect(plan, session.task_ctx())).await.unwrap();
    let old = datafusion::arrow::util::pretty::pretty_format_batches(&old).unwrap().to_string();
    assert!(old.contains("| 20 | 190 |"), "{old}");
    assert_eq!(answer(&session, sql).await[3], "| 110 | 14995 |");
}

/// Shows that a version that is not kept is an error, and that rows of two versions are never mixed, also while names are published
/// all the time.
#[tokio::test(flavor = "multi_thread")]
async fn versions_are_never_mixed() {
    let cluster = Cluster::new(2, &[("t", vec![rows(0, 50), rows(0, 50)])], &["--keep", "0"]);
    let session = cluster.session().await;
    let arenas: Vec<_> = cluster.hosts.iter().map(|host| host.options().open("air").unwrap()).collect();
    let sql = "SELECT count(*) AS n, count(DISTINCT id) AS d FROM t WHERE id >= 0";
    let mut refused = 0;
    for round in 1..60 {
        let plan = within(async { session.sql(sql).await?.create_physical_plan().await }).await.unwrap();
        publish(&arenas[round % 2], "t", &[rows(0, 50)]);
        if round % 2 == 0 {
            // Long enough for the version to be let go of.
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        match within(collect(plan, session.task_ctx())).await {
            Ok(rows) => {
                let text = datafusion::arrow::util::pretty::pretty_format_batches(&rows).unwrap().to_string();
                assert!(text.contains("| 100 | 50 |"), "{text}");
            }
            Err(e) => {
                let why = e.to_string();
                assert!(why.contains("was planned at version") && why.contains("run the statement again"), "{why}");
                refused += 1;
            }
        }
        if refused > 2 && round > 10 {
            return;
        }
    }
    panic!("no version was ever let go of");
}

/// Shows that an arena that is gone from a host is an error with both names, and no answer without its rows; that one which is made
/// anew is another one; and that it is read when it is there.
#[tokio::test(flavor = "multi_thread")]
async fn an_arena_is_gone() {
    let cluster = Cluster::new(2, &[("t", vec![rows(0, 10), rows(10, 20)])], &[]);
    let session = cluster.session().await;
    let address = &cluster.workers[1].address;
    let sql = "SELECT count(*) AS n FROM t WHERE id >= 0";
    let plan = || within(async { session.sql(sql).await?.create_physical_plan().await });
    let early = plan().await.unwrap();
    let options = cluster.hosts[1].options();
    options.remove("air").unwrap();
    // What was pinned when the plan was made is read though the name is gone.
    let rows_of = |batches: Vec<arrow_array::RecordBatch>| {
        datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
    };
    let old = within(collect(early, session.task_ctx())).await.unwrap();
    assert!(rows_of(old).contains("| 20 |"));
    let why = refusal(&session, sql).await;
    assert!(why.contains("arena `air`") && why.contains(address), "{why}");
    let again = options.create("air").unwrap();
    publish(&again, "t", &[rows(10, 13)]);
    assert_eq!(answer(&session, sql).await[3], "| 13 |");
    let late = plan().await.unwrap();
    options.remove("air").unwrap();
    let _other = options.create("air").unwrap();
    publish(&_other, "t", &[rows(10, 11)]);
    assert_eq!(answer(&session, sql).await[3], "| 11 |");
    let why = within(collect(late, session.task_ctx())).await.expect_err("another arena").to_string();
    assert!(why.contains("arena `air` is another one") && why.contains(address), "{why}");
}

/// Shows that a worker does not start without its arenas, and that who is not there is named.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_there() {
    let host = Host::new();
    let (code, why) = host.fails(&["worker", "air"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("`air`"), "{why}");
    host.arena("air");
    let worker = host.work(&["air"]);
    // Nobody listens at the port of a listener that is gone.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let connected = within(Coordinator::new([worker.address.clone(), gone.clone()]).connect()).await;
    let why = connected.map(drop).expect_err("one is missing").to_string();
    assert!(why.contains(&gone) && why.contains("not reached"), "{why}");
}
