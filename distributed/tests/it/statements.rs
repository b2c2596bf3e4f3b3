//! Shows that statements over the arenas of several hosts give what one session gives that has all rows; and where they are scanned.

use arrow_array::RecordBatch;
use datafusion::prelude::SessionContext;
use datafusion_distributed::display_plan_ascii;
use faretra_distributed::Coordinator;

use crate::support::{Cluster, Host, alone, answer, batches, publish, refusal, rows, within};

/// A large table on all hosts, a small one on all, and one that lies on the first host only.
fn tables() -> Vec<(&'static str, Vec<RecordBatch>)> {
    vec![("large", batches(7, 3000)), ("small", batches(3, 40)), ("single", vec![rows(0, 100)])]
}

const STATEMENTS: &[&str] = &[
    "SELECT count(*), min(id), max(id), sum(k) FROM large",
    "SELECT count(*) FROM large WHERE id >= 9000 AND text = 'text 3'",
    "SELECT k, count(*) AS n, sum(id), min(text) FROM large GROUP BY k ORDER BY k",
    "SELECT id, text FROM large WHERE k = 5 ORDER BY id DESC LIMIT 13",
    "SELECT id FROM large ORDER BY text, id LIMIT 5 OFFSET 20",
    "SELECT count(*) FROM (SELECT id FROM large LIMIT 4321)",
    "SELECT DISTINCT text FROM large ORDER BY text",
    "SELECT l.id, s.text FROM large l JOIN small s ON l.id = s.id ORDER BY l.id",
    "SELECT count(*), sum(a.id + b.id) FROM large a JOIN large b ON a.k = b.id",
    "SELECT l.id, o.k FROM large l JOIN single o ON l.id = o.id WHERE o.k > 90 ORDER BY l.id",
    "SELECT o.id, s.id FROM single o LEFT JOIN small s ON o.id = s.id + 50 ORDER BY o.id, s.id",
    "SELECT o.id, s.id FROM single o RIGHT JOIN small s ON o.id = s.id + 50 ORDER BY o.id, s.id",
    "SELECT count(*), count(o.id), count(s.id) FROM single o FULL JOIN small s ON o.id = s.id + 50",
    "SELECT count(*), count(o.id), count(s.id) FROM single o FULL JOIN small s ON o.id < s.id - 90",
    "SELECT count(*), sum(a.id) FROM single a CROSS JOIN small b",
    "SELECT count(*) FROM single a JOIN small b ON a.id < b.id",
    "SELECT count(*) FROM single a LEFT JOIN small b ON a.id < b.id - 60",
    "SELECT count(*) FROM large WHERE k IN (SELECT k FROM small WHERE id < 20)",
    "SELECT count(*) FROM large WHERE k NOT IN (SELECT k FROM small WHERE id < 20 AND k IS NOT NULL)",
    "SELECT count(*) FROM large WHERE k NOT IN (SELECT k FROM small WHERE id < 20)",
    "SELECT count(*) FROM large l WHERE NOT EXISTS (SELECT 1 FROM small s WHERE s.k = l.k)",
    "SELECT id FROM large WHERE id > (SELECT max(id) - 4 FROM large) ORDER BY id",
    "SELECT id FROM small UNION ALL SELECT id FROM single UNION ALL SELECT -1 ORDER BY id",
    "SELECT id FROM small UNION SELECT k FROM large ORDER BY id",
    "SELECT count(*) FROM (SELECT id FROM large UNION ALL SELECT count(*) FROM small)",
    "SELECT id, row_number() OVER (PARTITION BY text ORDER BY id) AS n FROM small ORDER BY id",
    "SELECT sum(id) OVER (ORDER BY id) AS s FROM small ORDER BY s LIMIT 7",
    "SELECT v.x, count(l.id) FROM (VALUES (1), (2), (1000)) AS v(x) LEFT JOIN large l ON l.k = v.x GROUP BY v.x ORDER BY v.x",
    "SELECT text, count(DISTINCT k), avg(id) FROM large GROUP BY text HAVING count(*) > 10 ORDER BY text",
    "WITH t AS (SELECT k, sum(id) AS s FROM large GROUP BY k) SELECT a.k, a.s FROM t a JOIN t b ON a.k = b.k + 1 ORDER BY a.k",
    "SELECT * FROM single WHERE id < 0",
    "SELECT 1 + 1",
];

/// Shows it for one, two and three workers, each with a directory of its own.
#[tokio::test(flavor = "multi_thread")]
async fn statements_give_what_one_session_gives() {
    let tables = tables();
    let one = alone(&tables);
    for hosts in 1..=3 {
        let cluster = Cluster::new(hosts, &tables, &[]);
        let session = cluster.session().await;
        for sql in STATEMENTS {
            assert_eq!(answer(&session, sql).await, answer(&one, sql).await, "{hosts} hosts: {sql}");
        }
    }
}

async fn shown(session: &SessionContext, sql: &str) -> String {
    let plan = within(async { session.sql(sql).await?.create_physical_plan().await }).await.unwrap();
    display_plan_ascii(plan.as_ref(), false)
}

/// Shows that each host scans its own part, and aggregates it before rows travel.
#[tokio::test(flavor = "multi_thread")]
async fn each_host_scans_its_own() {
    let cluster = Cluster::new(2, &tables(), &[]);
    let session = cluster.session().await;
    let plan = shown(&session, "SELECT k, count(*) FROM large WHERE id > 17 GROUP BY k").await;
    let below = plan.rsplit("Stage 1").next().unwrap();
    assert!(below.contains("tasks=2") && below.contains("AggregateExec: mode=Partial"), "{plan}");
    for worker in &cluster.workers {
        assert!(below.contains(&format!("HostScan: air.large@1 at {}", worker.address)), "{plan}");
    }
    // What one host has is scanned there.
    let plan = shown(&session, "SELECT count(k) FROM single WHERE id > 17").await;
    assert!(plan.contains(&format!("HostScan: air.single@1 at {}", cluster.workers[0].address)), "{plan}");
    assert!(plan.contains(&format!("HostScan: nothing at {}", cluster.workers[1].address)), "{plan}");
}

/// Shows that workers that have one arena read each row once, by shares of its batches.
#[tokio::test(flavor = "multi_thread")]
async fn workers_of_one_arena_share_it() {
    let host = Host::new();
    publish(&host.arena("air"), "t", &batches(5, 1000));
    let workers = [host.work(&["air"]), host.work(&["air"]), host.work(&["air"])];
    let addresses: Vec<String> = workers.iter().map(|worker| worker.address.clone()).collect();
    let session = within(Coordinator::new(addresses).connect()).await.unwrap();
    let one = alone(&[("t", batches(5, 1000))]);
    for sql in [
        "SELECT count(*), sum(id) FROM t",
        "SELECT id FROM t ORDER BY id LIMIT 3 OFFSET 1998",
        "SELECT count(*) FROM t",
    ] {
        assert_eq!(answer(&session, sql).await, answer(&one, sql).await, "{sql}");
    }
    let plan = shown(&session, "SELECT sum(id) FROM t").await;
    assert_eq!(plan.matches("HostScan: air.t@1").count(), 3, "{plan}");
}

/// Shows that arenas are schemas, on whichever hosts they are, that names are taken as they are, and what is said of others.
#[tokio::test(flavor = "multi_thread")]
async fn arenas_are_schemas() {
    let (one, two) = (Host::new(), Host::new());
    publish(&one.arena("air"), "Flüge \"1\"", &[rows(0, 10)]);
    let (air, sea) = (two.arena("air"), two.arena("sea"));
    publish(&air, "Flüge \"1\"", &[rows(10, 30)]);
    publish(&sea, "ports", &[rows(5, 15)]);
    air.writer().unwrap().publish("text", "no table").unwrap();
    let workers = [one.work(&["air"]), two.work(&["air", "sea"])];
    let session = within(Coordinator::new(workers.iter().map(|worker| &worker.address)).connect()).await.unwrap();
    let sql = "SELECT count(*) AS n, max(f.id) AS m FROM \"Flüge \"\"1\"\"\" f JOIN sea.ports p USING (id)";
    assert_eq!(answer(&session, sql).await[3], "| 10 | 14 |");
    let listed = answer(&session, "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2").await;
    assert!(listed.iter().any(|line| line.contains("sea") && line.contains("ports")), "{listed:?}");
    let missing = refusal(&session, "SELECT * FROM air.nothing").await;
    assert!(missing.contains("nothing") && missing.contains("not found"), "{missing}");
    let text = refusal(&session, "SELECT * FROM text").await;
    assert!(text.contains("no batch or table"), "{text}");
    // What is published later is seen by the next statement.
    publish(&sea, "later", &[rows(0, 4)]);
    assert_eq!(answer(&session, "SELECT count(*) AS n FROM sea.later").await[3], "| 4 |");
    let other = rows(0, 4).project(&[0, 2]).unwrap();
    publish(&air, "mixed", &[rows(0, 4)]);
    publish(&one.options().open("air").unwrap(), "mixed", &[other]);
    let mixed = refusal(&session, "SELECT * FROM mixed").await;
    assert!(mixed.contains("different schemas") && mixed.contains(&workers[1].address), "{mixed}");
}

/// Shows that the command prints rows in each of its formats.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_rows() {
    let cluster = Cluster::new(2, &[("t", batches(2, 3))], &[]);
    let workers = cluster.addresses().join(",");
    for (format, expected) in [
        ("table", "+----+---+\n| id | k |\n+----+---+\n| 0  |   |\n| 5  | 5 |\n+----+---+\n"),
        ("csv", "id,k\n0,\n5,5\n"),
        ("json", "[{\"id\":0},{\"id\":5,\"k\":5}]\n"),
        ("jsonl", "{\"id\":0}\n{\"id\":5,\"k\":5}\n"),
    ] {
        let sql = "SELECT id, k FROM t WHERE id IN (0, 5) ORDER BY id";
        let mut command = cluster.hosts[0].command(&["sql", &workers, sql, "--format", format]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, expected, "{format}");
    }
    let (code, why) = cluster.hosts[0].fails(&["sql", &workers, "SELECT nothing FROM t"]);
    assert_eq!(code, Some(1));
    assert!(why.contains("nothing"), "{why}");
}
