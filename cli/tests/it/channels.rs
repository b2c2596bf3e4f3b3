//! Channels from the shell: what is sent arrives, whoever is killed, and every end of a wait is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use faretra::channel::Contents;
use faretra::{Arena, Receiver};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Lab, Outcome, ears, finish, hear, signal, until};

const ROWS: usize = 20_000;

/// Row `i` is `i,row i`.
fn csv(rows: std::ops::Range<usize>) -> String {
    rows.fold("n,t\n".to_owned(), |text, i| text + &format!("{i},row {i}\n"))
}

/// An arena `a` and a file of [`ROWS`] rows.
fn with_rows() -> (Lab, String) {
    let lab = Lab::with_arena();
    let file = lab.write("rows.csv", csv(0..ROWS));
    (lab, file)
}

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args).spawn().unwrap()
}

/// Started, and read from: a pipe that is full would hold it up.
struct Running(std::thread::JoinHandle<Outcome>, nix::unistd::Pid);

impl Running {
    fn of(child: Child) -> Running {
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        Running(std::thread::spawn(|| finish(child)), pid)
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.1, signal).unwrap();
    }

    fn finish(self) -> Outcome {
        self.0.join().unwrap()
    }
}

fn run(lab: &Lab, args: &[&str]) -> Running {
    Running::of(start(lab, args))
}

fn ok(running: Running) -> Outcome {
    let outcome = running.finish();
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    outcome
}

/// The only channel, as `stat` tells it.
fn channel(lab: &Lab) -> Option<Value> {
    lab.json(["stat", "a"])["channels"].get(0).cloned()
}

fn wait_for(lab: &Lab, what: &str, there: impl Fn(&Value) -> bool) {
    until(what, || channel(lab).filter(&there).map(drop));
}

fn wait_until_full(lab: &Lab) {
    wait_for(lab, "the channel is full and its sender waits", |c| {
        c["depth"] == c["capacity"] && c["blocked"].as_array().is_some_and(|pids| !pids.is_empty())
    });
}

/// How often each row came, which must be one that was sent.
fn rows(text: &str) -> BTreeMap<usize, usize> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "n,t") {
        let (n, t) = line.split_once(',').unwrap_or_else(|| panic!("{line}"));
        assert_eq!(t, format!("row {n}"));
        *rows.entry(n.parse().unwrap()).or_insert(0) += 1;
    }
    rows
}

fn assert_all_there(rows: &BTreeMap<usize, usize>) {
    assert!(rows.keys().copied().eq(0..ROWS), "{} rows", rows.len());
}

#[test]
fn two_shells_make_a_pipeline() {
    let (lab, file) = with_rows();
    lab.ok(["put", "a", "t", &file, "--batch-rows", "7000"]);
    let names = ["rows.csv", "rows.parquet", "rows.arrow", "rows.arrows"];
    for name in &names[1..] {
        lab.ok(["export", "a", "t", &lab.file(name)]);
    }
    lab.ok(["rm", "a", "t"]);
    for name in names {
        let mut to = start(&lab, &["recv", "a", "c", "--format", "csv"]);
        let mut stderr = ears(&mut to);
        assert!(hear(&mut stderr, "no channel `c` yet").contains("faretra send a c"));
        let to = Running::of(to);
        let sent = lab.json(["send", "a", "c", &lab.file(name), "--batch-rows", "999", "--capacity", "3"]);
        assert_eq!((&sent["rows"], &sent["made"], &sent["closed"]), (&ROWS.into(), &true.into(), &true.into()));
        assert!(sent["batches"].as_u64().unwrap() > 20, "{sent}");
        assert_eq!(ok(to).stdout, csv(0..ROWS), "{name}");
        lab.ok(["rm", "a", "c"]);
    }
    for name in ["rows.arrow", "rows.parquet"] {
        for export in ["out.parquet", "out.arrow", "out.arrows", "out.csv"] {
            let out = lab.file(export);
            let to = run(&lab, &["recv", "a", "c", "--export", &out, "--json", "--force"]);
            lab.ok(["send", "a", "c", &lab.file(name), "--batch-rows", "999"]);
            let told: Value = serde_json::from_str(&ok(to).stdout).unwrap();
            assert_eq!((&told["rows"], &told["received_before"]), (&ROWS.into(), &0.into()), "{told}");
            lab.ok(["rm", "a", "c"]);
            lab.ok(["put", "a", "t", &out]);
            assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), csv(0..ROWS), "{export}");
        }
    }
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

#[test]
fn a_channel_that_was_kept_open_is_closed() {
    let (lab, file) = with_rows();
    lab.ok(["send", "a", "c", &file, "--batch-rows", "9999", "--keep-open"]);
    let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    wait_for(&lab, "all of it to be received", |c| c["depth"] == 0);
    let closed = lab.json(["close", "a", "c"]);
    assert_eq!((&closed["kind"], &closed["closed_before"]), (&"channel".into(), &false.into()), "{closed}");
    assert_eq!(ok(to).stdout, csv(0..ROWS));
    assert!(lab.ok(["close", "a", "c"]).contains("was closed before"));
    lab.ok(["put", "a", "t", &file]);
    assert!(lab.fails(1, ["close", "a", "t"]).contains("`t` is a table"));
    assert!(lab.fails(1, ["close", "a", "nothing"]).contains("nothing"));
}

#[test]
fn rows_are_printed_as_cat_prints_them() {
    let lab = Lab::with_arena();
    let file = lab.write("t.csv", "city,count\nParis,3\nRome,\nOslo,5\n");
    lab.ok(["put", "a", "t", &file]);
    for format in ["csv", "json", "jsonl"] {
        lab.ok(["send", "a", "c", &file, "--batch-rows", "2"]);
        let printed = lab.ok(["recv", "a", "c", "--format", format]);
        assert_eq!(printed, lab.ok(["cat", "a", "t", "--format", format]), "{format}");
        lab.ok(["rm", "a", "c"]);
    }
    lab.ok(["send", "a", "c", &file]);
    let table = lab.ok(["recv", "a", "c"]);
    let cat = lab.ok(["cat", "a", "t"]);
    assert_eq!(table.lines().take(5).collect::<Vec<_>>(), cat.lines().take(5).collect::<Vec<_>>());
    assert!(table.ends_with("(3 rows in 1 batch)\n"), "{table}");
    // What is closed and empty says so, and what had no rows its columns.
    let again = lab.run(["recv", "a", "c", "--format", "csv"]);
    assert!(again.stdout == "city,count\n" && again.stderr.contains("was closed before"), "{again:?}");
}

/// `recv` is killed while it prints, twice, and while it exports; those after it get what it had.
#[test]
fn killing_recv_loses_no_row() {
    let (lab, file) = with_rows();
    let mut from = start(&lab, &["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "4"]);
    let mut printed = String::new();
    for _ in 0..2 {
        // Nobody reads what it prints: it comes to a stop with a batch half written.
        let mut to = start(&lab, &["recv", "a", "c", "--format", "csv"]);
        wait_until_full(&lab);
        wait_for(&lab, "it has a batch", |c| c["leased"] == 1);
        assert!(lab.json(["who", "a"]).to_string().contains("a lease of channel `c`"));
        signal(&to, Signal::SIGKILL);
        crate::support::wait(&mut to);
        let mut some = String::new();
        to.stdout.take().unwrap().read_to_string(&mut some).unwrap();
        // The last line may be cut.
        printed += some.rsplit_once('\n').map_or("", |(whole, _)| whole);
        printed += "\n";
    }
    // An export of which nothing is durable yet.
    let out = lab.file("out.parquet");
    let mut to = start(&lab, &["recv", "a", "c", "--export", &out]);
    assert!(crate::support::wait(&mut from).success());
    signal(&to, Signal::SIGKILL);
    crate::support::wait(&mut to);
    assert!(!lab.path("out.parquet").exists() || rows_of(&lab, &out) > 0);
    let rest = lab.run(["recv", "a", "c", "--format", "csv"]);
    assert_eq!(rest.status.code(), Some(0), "{rest:?}");
    if lab.path("out.parquet").exists() {
        lab.ok(["put", "a", "t", &out]);
        printed += &lab.ok(["cat", "a", "t", "--format", "csv"]);
    } else {
        assert!(rest.stderr.contains("had been received before"), "{rest:?}");
    }
    printed += &rest.stdout;
    assert_all_there(&rows(&printed));
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

fn rows_of(lab: &Lab, file: &str) -> u64 {
    lab.json(["put", "a", "rows", file])["rows"].as_u64().unwrap()
}

/// An export holds everything until its file is finished; killed before that, nothing was taken.
#[test]
fn killing_an_export_gives_everything_back() {
    let (lab, file) = with_rows();
    lab.ok(["send", "a", "c", &file, "--batch-rows", "1000", "--capacity", "64", "--keep-open"]);
    let out = lab.file("out.parquet");
    let mut to = start(&lab, &["recv", "a", "c", "--export", &out]);
    wait_for(&lab, "it has them all", |c| c["leased"] == 20 && c["depth"] == 0);
    signal(&to, Signal::SIGKILL);
    crate::support::wait(&mut to);
    assert_eq!(lab.files(), ["faretra.a", "rows.csv"], "nor is anything else left of it");
    // Leaves out all: closes the channel.
    lab.ok(["send", "a", "c", &file, "--batch-rows", "1000", "--skip", "20"]);
    let told = lab.json(["recv", "a", "c", "--export", &out]);
    assert_eq!((&told["rows"], &told["received_before"]), (&ROWS.into(), &20.into()), "{told}");
    lab.ok(["put", "a", "t", &out]);
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), csv(0..ROWS));
}

#[test]
fn killing_send_and_starting_it_again_with_the_rest_works() {
    let (lab, file) = with_rows();
    let args = ["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "4"];
    let mut from = start(&lab, &args);
    wait_until_full(&lab);
    signal(&from, Signal::SIGKILL);
    crate::support::wait(&mut from);
    let mut to = start(&lab, &["recv", "a", "c", "--format", "csv"]);
    let mut stderr = ears(&mut to);
    let to = Running::of(to);
    let line = hear(&mut stderr, "the last sender");
    assert!(line.contains("faretra send a c"), "{line}");
    let sent = channel(&lab).unwrap()["sent"].to_string();
    assert_eq!(sent, "4");
    let rest = lab.json(["send", "a", "c", &file, "--batch-rows", "500", "--skip", &sent]);
    assert_eq!((&rest["batches"], &rest["made"], &rest["capacity"]), (&36.into(), &false.into(), &4.into()));
    let outcome = ok(to);
    assert_eq!(outcome.stdout, csv(0..ROWS));
    let mut more = String::new();
    stderr.read_to_string(&mut more).unwrap();
    assert_eq!(more, "", "said once");
}

#[test]
fn an_interrupted_send_says_how_to_go_on() {
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let (lab, file) = with_rows();
        let child = start(&lab, &["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "3"]);
        wait_until_full(&lab);
        signal(&child, stop);
        let outcome = finish(child);
        assert_eq!(outcome.signal(), Some(stop as i32), "{outcome:?}");
        assert!(outcome.stderr.contains("3 batches of 1,500 rows"), "{outcome:?}");
        assert!(outcome.stderr.contains("--skip 3"), "{outcome:?}");
        let now = channel(&lab).unwrap();
        assert_eq!((&now["depth"], &now["closed"], &now["senders"]), (&3.into(), &false.into(), &Value::Array(vec![])));
        let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
        lab.ok(["send", "a", "c", &file, "--batch-rows", "500", "--skip", "3"]);
        assert_eq!(ok(to).stdout, csv(0..ROWS));
    }
}

/// What was left out counts too: the next command goes on where this one ended.
#[test]
fn an_interrupted_send_that_left_out_batches_says_how_to_go_on() {
    let (lab, file) = with_rows();
    let send = |skip: &'static str| ["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "3", "--skip", skip];
    let child = start(&lab, &send("2"));
    wait_until_full(&lab);
    signal(&child, Signal::SIGINT);
    let outcome = finish(child);
    assert_eq!(outcome.signal(), Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("3 batches of 1,500 rows"), "{outcome:?}");
    assert!(outcome.stderr.contains("--skip 5"), "{outcome:?}");
    let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    lab.ok(send("5"));
    assert_eq!(ok(to).stdout, csv(1000..ROWS));
}

#[test]
fn an_interrupted_recv_leaves_what_it_did_not_write() {
    let (lab, file) = with_rows();
    lab.ok(["send", "a", "c", &file, "--batch-rows", "1000", "--capacity", "64", "--keep-open"]);
    let out = lab.file("out.csv");
    let child = start(&lab, &["recv", "a", "c", "--export", &out]);
    wait_for(&lab, "it has them all", |c| c["leased"] == 20);
    signal(&child, Signal::SIGINT);
    let outcome = finish(child);
    assert_eq!(outcome.signal(), Some(2), "{outcome:?}");
    let now = channel(&lab).unwrap();
    assert_eq!((&now["leased"], &now["returned"]), (&0.into(), &20.into()), "{now}");
    assert_eq!(lab.files(), ["faretra.a", "rows.csv"]);
    // Printing takes one at a time, and waits for more until it is interrupted.
    let running = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    wait_for(&lab, "it printed them", |c| c["leased"] == 0 && c["returned"] == 0);
    running.signal(Signal::SIGTERM);
    let outcome = running.finish();
    assert_eq!((outcome.signal(), outcome.stdout), (Some(15), csv(0..ROWS)));
    // Nor is one lost that waits for a channel.
    let mut child = start(&lab, &["recv", "a", "none"]);
    let mut stderr = ears(&mut child);
    hear(&mut stderr, "no channel");
    signal(&child, Signal::SIGINT);
    assert_eq!(finish(child).signal(), Some(2));
}

#[test]
fn a_reader_of_recv_that_had_enough_is_no_error() {
    let (lab, file) = with_rows();
    lab.ok(["send", "a", "c", &file, "--batch-rows", "10000", "--keep-open"]);
    let first = |args: &[&str]| {
        let mut child = start(&lab, args);
        let mut some = [0; 4];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let outcome = finish(child);
        assert_eq!(outcome.status.code(), Some(0), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("pipe"), "{outcome:?}");
    };
    // The first batch is larger than a pipe: it was not written out, and so stays.
    for format in ["csv", "jsonl", "json", "table"] {
        first(&["recv", "a", "c", "--format", format]);
        let now = channel(&lab).unwrap();
        assert_eq!((&now["depth"], &now["returned"], &now["leased"]), (&1.into(), &1.into(), &0.into()), "{format}");
    }
    // --head looks, and gives back what it did not print whole.
    let text = lab.ok(["recv", "a", "c", "--format", "csv", "--head", "3"]);
    assert_eq!(text, csv(0..3));
    assert_eq!(channel(&lab).unwrap()["returned"], 1);
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv", "--head", "10000"]), csv(0..10_000));
    let now = channel(&lab).unwrap();
    assert_eq!((&now["depth"], &now["returned"]), (&1.into(), &0.into()), "printed whole: acknowledged");
    // One that waits for more notices that its reader went.
    let text = lab.ok(["recv", "a", "c", "--format", "jsonl", "--head", "1"]);
    assert_eq!(text, "{\"n\":10000,\"t\":\"row 10000\"}\n");
    let mut child = start(&lab, &["recv", "a", "c", "--format", "csv"]);
    let mut text = vec![0; csv(10_000..20_000).len()];
    child.stdout.take().unwrap().read_exact(&mut text).unwrap();
    assert_eq!(finish(child).status.code(), Some(0));
}

#[test]
fn a_sender_without_receivers_waits_for_another_one() {
    let (lab, file) = with_rows();
    let mut from = start(&lab, &["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "2"]);
    let mut stderr = ears(&mut from);
    lab.ok(["recv", "a", "c", "--head", "1"]);
    let line = hear(&mut stderr, "its receivers left or died");
    assert!(line.contains("faretra recv a c"), "{line}");
    lab.ok(["recv", "a", "c", "--head", "1"]);
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv"]), csv(0..ROWS));
    ok(Running::of(from));
    let mut more = String::new();
    stderr.read_to_string(&mut more).unwrap();
    assert_eq!(more, "", "said once");
}

#[test]
fn files_of_a_channel_have_one_schema() {
    let lab = Lab::with_arena();
    let write = |name: &str, text: &str| lab.write(name, text);
    let one = write("one.csv", "a,b\n1,x\n2,y\n");
    let same = write("same.csv", "a,b\n3,z\n");
    let other = write("other.csv", "a,b\n1.5,x\n");
    let named = write("named.csv", "A,b\n1,x\n");
    let fewer = write("fewer.csv", "a\n1\n");
    let line = lab.fails(1, ["send", "a", "c", &one, &same, &named]);
    assert!(line.contains("named.csv") && line.contains("column 1") && line.contains("one.csv"), "{line}");
    let line = lab.fails(1, ["send", "a", "c", &one, &other, "--type", "a=int"]);
    assert!(line.contains("other.csv") && line.contains("`1.5` is no int64"), "{line}");
    let line = lab.fails(1, ["send", "a", "c", &one, &fewer]);
    assert!(line.contains("fewer.csv") && line.contains("1 column, not 2"), "{line}");
    let line = lab.fails(1, ["send", "a", "c", &one, &lab.file("missing.csv")]);
    assert!(line.contains("missing.csv"), "{line}");
    assert_eq!(lab.json(["ls", "a"]), serde_json::json!([]), "nothing was sent of the first one either");
    // Kept as text it is the same.
    lab.ok(["send", "a", "c", &one, &other, "--text", "a"]);
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv"]), "a,b\n1,x\n2,y\n1.5,x\n");
    let line = lab.fails(1, ["send", "a", "c", &one]);
    assert!(line.contains("closed") && line.contains("faretra rm a c"), "{line}");
    lab.ok(["rm", "a", "c"]);
    // Nor of the channel from an earlier command.
    lab.ok(["send", "a", "c", &one, "--keep-open", "--capacity", "3"]);
    let line = lab.fails(1, ["send", "a", "c", &other]);
    assert!(line.contains("other.csv") && line.contains("Int64") && line.contains("Float64"), "{line}");
    let outcome = lab.run(["send", "a", "c", &same, "--capacity", "9", "--json"]);
    assert!(outcome.stderr.contains("room for 3 batches"), "{outcome:?}");
    assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).unwrap()["capacity"], 3);
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "csv"]), "a,b\n1,x\n2,y\n3,z\n");
    // One without a bound takes what it gets, with nobody there to receive, and stays what it is.
    let sent = lab.json(["send", "a", "u", &one, "--batch-rows", "1", "--unbounded", "--keep-open"]);
    assert_eq!((&sent["capacity"], &sent["batches"]), (&Value::Null, &2.into()));
    let outcome = lab.run(["send", "a", "u", &same, "--capacity", "1", "--keep-open"]);
    assert!(outcome.stderr.contains("without a bound") && outcome.stderr.contains("--capacity 1"), "{outcome:?}");
    lab.ok(["send", "a", "b", &one, "--capacity", "3", "--keep-open"]);
    let outcome = lab.run(["send", "a", "b", &same, "--unbounded"]);
    assert!(outcome.stderr.contains("room for 3 batches"), "{outcome:?}");
    let outcome = lab.run(["send", "a", "n", &one, "--unbounded", "--capacity", "3"]);
    assert!(outcome.status.code() == Some(2) && outcome.stderr.contains("--capacity"), "{outcome:?}");
    let line = lab.fails(1, ["send", "a", "d", &one, "--skip", "2"]);
    assert!(line.contains("1 batch"), "{line}");
    let wrong = write("wrong.csv", "a,b\n1,x\n2,y,z\n");
    assert!(lab.fails(1, ["send", "a", "e", &wrong]).contains("wrong.csv"));
}

#[test]
fn channels_are_seen_by_the_other_verbs() {
    let (lab, file) = with_rows();
    let mut from = start(&lab, &["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "2"]);
    wait_until_full(&lab);
    let entry = &lab.json(["ls", "a"])[0];
    assert_eq!((&entry["kind"], &entry["rows"]), (&"channel".into(), &2.into()));
    assert!(lab.ok(["ls", "a"]).contains("2 items"));
    let pid = Value::from(from.id());
    let now = channel(&lab).unwrap();
    assert_eq!((&now["senders"][0], &now["blocked"][0], &now["sent"]), (&pid, &pid, &2.into()), "{now}");
    assert_eq!((&now["mixed"], &now["receivers"]), (&false.into(), &Value::Array(vec![])));
    let text = lab.ok(["stat", "a"]);
    assert!(text.contains("DEPTH") && text.contains("2/2") && text.contains("open"), "{text}");
    let who = lab.ok(["who", "a"]);
    assert!(who.contains("holds the sending end of channel `c`"), "{who}");
    assert!(who.contains("waits for channel `c`"), "{who}");
    for verb in [&["cat", "a", "c"][..], &["export", "a", "c", &lab.file("o.csv")]] {
        let line = lab.fails(1, verb);
        assert!(line.contains("faretra recv"), "{line}");
    }
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
    // The rate comes with the second look.
    let mut watch = start(&lab, &["stat", "a", "--watch", "--json"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["channels"][0]["sent_per_second"], Value::Null);
    let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    let rate = until("a rate", || next()["channels"][0]["sent_per_second"].as_f64().filter(|rate| *rate > 0.0));
    assert!(rate < 10_000.0, "{rate}");
    signal(&watch, Signal::SIGINT);
    ok(Running::of(watch));
    ok(to);
    assert!(crate::support::wait(&mut from).success());
    assert_eq!(channel(&lab).unwrap()["closed"], true);
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let _lock = arena.mutex("lock").unwrap();
    let line = lab.fails(1, ["cat", "a", "lock"]);
    assert!(line.contains("faretra who a"), "{line}");
    for line in [lab.fails(1, ["send", "a", "lock", &file]), lab.fails(1, ["recv", "a", "lock"])] {
        assert!(line.contains("mutex, not a channel"), "{line}");
    }
}

/// What an export keeps may be all that the arena can hold: that is told instead of waited for.
#[test]
fn an_export_that_does_not_fit_fails_with_everything_in_the_channel() {
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "4MiB"]);
    let file = lab.write("rows.csv", csv(0..ROWS * 20));
    let from = run(&lab, &["send", "a", "c", &file, "--batch-rows", "20000", "--capacity", "100"]);
    let line = lab.fails(1, ["recv", "a", "c", "--export", &lab.file("out.parquet")]);
    assert!(line.contains("--limit") && line.contains("4.0 MiB"), "{line}");
    let rest = lab.ok(["recv", "a", "c", "--format", "csv"]);
    assert!(rows(&rest).keys().copied().eq(0..ROWS * 20));
    assert!(ok(from).stderr.contains("waiting for memory"));
    // Nor is a batch waited for that never could be sent.
    let line = lab.fails(1, ["send", "a", "d", &file, "--batch-rows", "400000"]);
    assert!(line.contains("--batch-rows"), "{line}");
}

#[test]
fn who_waits_at_a_channel_that_is_removed_is_told() {
    let (lab, file) = with_rows();
    let from = start(&lab, &["send", "a", "c", &file, "--batch-rows", "500", "--capacity", "2"]);
    wait_until_full(&lab);
    lab.ok(["rm", "a", "c"]);
    let outcome = finish(from);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("was removed"), "{outcome:?}");
    lab.ok(["send", "a", "c", &file, "--keep-open"]);
    let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    wait_for(&lab, "it printed it", |c| c["depth"] == 0 && c["leased"] == 0);
    lab.ok(["rm", "a", "c"]);
    let outcome = to.finish();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout == csv(0..ROWS) && outcome.stderr.contains("was removed"), "{outcome:?}");
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
    // The same with the arena.
    lab.ok(["send", "a", "c", &file, "--keep-open"]);
    let to = run(&lab, &["recv", "a", "c", "--format", "csv"]);
    wait_for(&lab, "it printed it", |c| c["depth"] == 0 && c["leased"] == 0);
    lab.ok(["rm", "a"]);
    let outcome = to.finish();
    assert!(outcome.status.code() == Some(1) && outcome.stderr.contains("was removed"), "{outcome:?}");
}

/// Channels that programs made may hold what has no rows, and batches of several schemas.
#[test]
fn what_cannot_be_printed_stays_in_the_channel() {
    let lab = Lab::with_arena();
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let writer = arena.writer().unwrap();
    for (name, text) in [("x", "a\n1\n"), ("y", "b\ntext\n")] {
        let file = lab.write(name, text);
        lab.ok(["put", "a", name, &file, "--format", "csv"]);
    }
    let sender = writer.sender_with("c", 8, Contents::Mixed).unwrap();
    let fill = || {
        sender.send(arena.table("x").unwrap()).unwrap();
        sender.send(arena.table("y").unwrap()).unwrap();
        sender.send(&b"bytes"[..]).unwrap();
    };
    fill();
    let outcome = lab.run(["recv", "a", "c", "--format", "csv"]);
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), "a\n1\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("other columns"), "{outcome:?}");
    let outcome = lab.run(["recv", "a", "c", "--format", "jsonl"]);
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(1), "{\"b\":\"text\"}\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("bytes"), "{outcome:?}");
    let receiver: Receiver = arena.receiver("c").unwrap();
    let lease = receiver.recv().unwrap();
    assert_eq!(lease.bytes().unwrap(), b"bytes");
    lease.ack();
    // Sent to by the shell too, with other columns again.
    let file = lab.write("z.csv", "c\n7\n");
    lab.ok(["send", "a", "c", &file]);
    assert_eq!(lab.ok(["recv", "a", "c", "--format", "jsonl"]), "{\"c\":7}\n");
}
