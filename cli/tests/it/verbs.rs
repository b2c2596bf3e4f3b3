//! Each verb does its work and prints facts, for people and as JSON.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, RecordBatch, StringArray};
use faretra::{Arena, Bundle};
use nix::sys::signal::Signal;

use crate::support::{Lab, finish, signal, until};

fn with_table() -> Lab {
    let lab = Lab::with_arena();
    let file = lab.write("t.csv", "city,count\nParis,3\nRome,\nOslo,5\n");
    lab.ok(["put", "a", "t", &file]);
    lab
}

#[test]
fn create_says_what_it_made() {
    let lab = Lab::new();
    let text = lab.ok(["create", "one", "--limit", "64MiB", "--writers", "3"]);
    assert!(text.contains("faretra.one") && text.contains("64.0 MiB"), "{text}");
    let made = lab.json(["create", "two", "--limit", "64MiB", "--capacity", "1GiB"]);
    assert_eq!(made["limit"], 64 << 20);
    assert!(made["capacity"].as_u64().unwrap() >= 1 << 30);
    assert_eq!(made["limit_fits"], true);
    let names = lab.json(["ls"]);
    let names: Vec<&str> = names.as_array().unwrap().iter().map(|arena| arena["arena"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
    lab.ok(["create", "three", "--mode", "0660"]);
    let mode = std::fs::metadata(lab.path("faretra.three")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o660);
}

#[test]
fn create_warns_when_the_limit_is_more_than_the_file_system_holds() {
    let lab = Lab::new();
    let outcome = lab.run(["create", "a", "--limit", "900TiB"]);
    if outcome.status.code() == Some(0) {
        assert!(outcome.stderr.contains("more than the file system holds"), "{outcome:?}");
    } else {
        // Or it is more than an arena can be.
        assert!(outcome.stderr.starts_with("faretra: "), "{outcome:?}");
    }
    let outcome = lab.run(["create", "b", "--limit", "1TiB"]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("more than the file system holds"), "{outcome:?}");
}

#[test]
fn an_ephemeral_arena_goes_with_its_last_user() {
    let lab = Lab::new();
    let args = ["create", "e", "--ephemeral", "--limit", "64MiB"];
    for (stop, kill) in [(Signal::SIGINT, false), (Signal::SIGTERM, false), (Signal::SIGKILL, true)] {
        let child = lab.command(args).spawn().unwrap();
        until("the arena is there", || (lab.json(["ls"])[0]["participants"] == 1).then_some(()));
        assert_eq!(lab.json(["ls"])[0]["keep"], false);
        let file = lab.write("t.csv", "a\n1\n");
        lab.ok(["put", "e", "t", &file]);
        assert_eq!(lab.ok(["cat", "e", "t", "--format", "csv"]), "a\n1\n");
        signal(&child, stop);
        let outcome = finish(child);
        assert_eq!(outcome.status.code(), if kill { None } else { Some(0) }, "{outcome:?}");
        until("the arena is gone", || (lab.json(["ls"]) == serde_json::json!([])).then_some(()));
        assert_eq!(lab.files(), ["t.csv"]);
    }
}

#[test]
fn put_waits_for_a_permit_and_can_be_interrupted() {
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "64MiB", "--writers", "1"]);
    let file = lab.write("t.csv", "a\n1\n");
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let writer = arena.writer().unwrap();
    let waiting = |args: &[&str]| {
        let mut child = lab.command(args).spawn().unwrap();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("waiting") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0);
        }
        assert!(line.contains("faretra who a"), "{line}");
        (child, stderr)
    };
    let (child, _stderr) = waiting(&["put", "a", "t", &file]);
    signal(&child, Signal::SIGINT);
    assert_eq!(finish(child).signal(), Some(2));
    let (child, _stderr) = waiting(&["put", "a", "t", &file]);
    assert_eq!(lab.json(["stat", "a"])["writers_busy"], 1);
    drop(writer);
    assert_eq!(finish(child).status.code(), Some(0));
    assert_eq!(lab.json(["ls", "a"])[0]["rows"], 1);
}

#[test]
fn items_of_a_bundle_are_printed_and_exported() {
    let lab = with_table();
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let table = arena.table("t").unwrap();
    let batch = table.batch(0).unwrap();
    let bundle = Bundle::new().with("cities", &batch).with("note", &b"two of them"[..]);
    arena.writer().unwrap().publish("both", bundle).unwrap();
    let line = lab.fails(1, ["cat", "a", "both"]);
    assert!(line.contains("cities") && line.contains("note") && line.contains("--item"), "{line}");
    assert_eq!(lab.ok(["cat", "a", "both", "--item", "note"]), "two of them");
    lab.ok(["export", "a", "both", &lab.file("cities.csv"), "--item", "cities"]);
    let text = std::fs::read_to_string(lab.path("cities.csv")).unwrap();
    assert_eq!(text, "city,count\nParis,3\nRome,\nOslo,5\n");
    lab.fails(1, ["cat", "a", "both", "--item", "none"]);
    let entry = &lab.json(["ls", "a"])[0];
    assert_eq!(entry["kind"], "bundle");
}

#[test]
fn put_again_is_the_next_version() {
    let lab = with_table();
    let first = lab.json(["ls", "a"]);
    assert_eq!(first[0]["name"], "t");
    assert_eq!(first[0]["kind"], "table");
    assert_eq!(first[0]["rows"], 3);
    let version = first[0]["version"].as_u64().unwrap();
    let second = lab.json(["put", "a", "t", &lab.file("t.csv")]);
    assert!(second["version"].as_u64().unwrap() > version, "{second}");
    assert_eq!(second["rows"], 3);
    assert_eq!(lab.json(["ls", "a"]).as_array().unwrap().len(), 1);
}

#[test]
fn puts_at_the_same_time_each_get_a_version_of_their_own() {
    let lab = with_table();
    let file = lab.file("t.csv");
    let children: Vec<_> =
        (0..8).map(|_| lab.command(["put", "a", "same", &file, "--json"]).spawn().unwrap()).collect();
    let mut versions: Vec<u64> = children
        .into_iter()
        .map(|child| {
            let outcome = finish(child);
            assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
            let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            json["version"].as_u64().unwrap()
        })
        .collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 8);
    lab.ok(["verify", "a"]);
}

#[test]
fn cat_prints_tables_in_every_way() {
    let lab = with_table();
    let text = lab.ok(["cat", "a", "t"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["city   count", "text   int64", "Paris      3", "Rome       -", "Oslo       5", "(3 rows)"]);
    assert!(lab.ok(["cat", "a", "t", "--head", "1"]).contains("1 of 3 rows"));
    let csv = lab.ok(["cat", "a", "t", "--format", "csv", "--head", "2"]);
    assert_eq!(csv, "city,count\nParis,3\nRome,\n");
    let json: serde_json::Value = serde_json::from_str(&lab.ok(["cat", "a", "t", "--format", "json"])).unwrap();
    assert_eq!(
        json,
        serde_json::json!([
            { "city": "Paris", "count": 3 },
            { "city": "Rome", "count": null },
            { "city": "Oslo", "count": 5 }
        ])
    );
    assert_eq!(lab.json(["cat", "a", "t"]), json);
    let lines = lab.ok(["cat", "a", "t", "--format", "jsonl"]);
    for (line, row) in lines.lines().zip(json.as_array().unwrap()) {
        assert_eq!(&serde_json::from_str::<serde_json::Value>(line).unwrap(), row);
    }
    let columns = lab.ok(["cat", "a", "t", "--columns", "count", "--format", "csv"]);
    assert_eq!(columns, "count\n3\n\n5\n".replace("\n\n", "\n\"\"\n"));
    let none: serde_json::Value =
        serde_json::from_str(&lab.ok(["cat", "a", "t", "--format", "json", "--head", "0"])).unwrap();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn cat_prints_arrays_and_bytes() {
    let lab = Lab::with_arena();
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}\n";
    npy.extend((text.len() as u16).to_le_bytes());
    npy.extend(text.as_bytes());
    npy.extend([1.5f32, -2.0, f32::NAN, 0.1].iter().flat_map(|x| x.to_le_bytes()));
    let file = lab.write("x.npy", npy);
    lab.ok(["put", "a", "x", &file]);
    let shown = lab.ok(["cat", "a", "x"]);
    assert!(shown.contains("1.5") && shown.contains("f32 array of shape [2, 2]"), "{shown}");
    assert_eq!(lab.ok(["cat", "a", "x", "--format", "csv"]), "1.5,-2\nNaN,0.1\n");
    assert_eq!(lab.ok(["cat", "a", "x", "--format", "json"]), "[[1.5,-2],[null,0.1]]\n");
    assert_eq!(lab.ok(["cat", "a", "x", "--format", "csv", "--head", "1"]), "1.5,-2\n");
    let file = lab.write("b", "as they are");
    lab.ok(["put", "a", "b", &file, "--format", "bytes"]);
    assert_eq!(lab.ok(["cat", "a", "b"]), "as they are");
}

#[test]
fn stat_who_recover_and_verify_print_facts() {
    let lab = with_table();
    let stat = lab.json(["stat", "a"]);
    assert_eq!(stat["limit"], 256 << 20);
    assert_eq!(stat["names"], 1);
    assert!(stat["used"].as_u64().unwrap() >= stat["live"].as_u64().unwrap());
    assert!(stat["live"].as_u64().unwrap() > 0);
    assert!(lab.ok(["stat", "a"]).contains("256.0 MiB"));
    assert_eq!(lab.json(["who", "a"]), serde_json::json!([]));
    assert!(lab.ok(["who", "a"]).contains("nobody"));
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
    assert!(lab.ok(["verify", "a"]).contains("clean"));
    assert_eq!(lab.json(["recover", "a"])["participants"], 0);
    assert!(lab.ok(["recover", "a"]).contains("nothing to recover"));
}

#[test]
fn who_names_the_processes_and_what_they_hold() {
    let lab = with_table();
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let pin = arena.get("t").unwrap();
    let ours = std::process::id();
    for args in [["who", "a", "--by-bytes"].as_slice(), &["who", "a"]] {
        let text = lab.ok(args);
        let line = text.lines().find(|line| line.contains(&ours.to_string()));
        assert!(line.is_some_and(|line| line.contains("running")), "{text}");
    }
    let who = lab.json(["who", "a"]);
    let me = who.as_array().unwrap().iter().find(|holder| holder["pid"] == ours).unwrap();
    assert_eq!(me["alive"], true);
    assert!(me["pins"].as_u64().unwrap() >= 1, "{me}");
    drop((pin, arena));
    assert_eq!(lab.json(["who", "a"]), serde_json::json!([]));
}

/// `--by-bytes` lists those who hold most first, whoever came first.
#[test]
fn who_by_bytes_begins_with_the_largest_holder() {
    let lab = Lab::with_arena();
    for (name, rows) in [("small", 30_000), ("large", 300_000)] {
        let rows: String = (0..rows).map(|row| format!("{row}\n")).collect();
        let file = lab.write("t.csv", format!("x\n{rows}"));
        lab.ok(["put", "a", name, &file]);
    }
    // Each pins what nobody reads from it.
    let mut holders = vec![];
    for (name, others) in [("small", 0), ("large", 1)] {
        holders.push(lab.command(["cat", "a", name, "--format", "csv"]).spawn().unwrap());
        let all_pin = || {
            let who = lab.json(["who", "a"]);
            let who = who.as_array().unwrap();
            (who.len() == others + 1 && who.iter().all(|holder| holder["pins"] == 1)).then_some(())
        };
        until("it holds its table", all_pin);
    }
    let first = |args: [&str; 3]| lab.json(args)[0]["pid"].as_u64().unwrap();
    assert_eq!(first(["who", "a", "--by-bytes"]), u64::from(holders[1].id()));
    assert_eq!(lab.json(["who", "a"])[0]["pid"], holders[0].id());
    for mut holder in holders {
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}

#[test]
fn recover_takes_back_what_the_dead_hold_and_says_so() {
    let lab = Lab::with_arena();
    let mut text = "x\n".to_owned();
    text.extend((0..200_000).map(|i| format!("{i}\n")));
    let file = lab.write("t.csv", text);
    lab.ok(["put", "a", "t", &file]);
    for json in [true, false] {
        // It pins the table as long as nobody reads what it prints.
        let mut child = lab.command(["cat", "a", "t", "--format", "csv"]).spawn().unwrap();
        until("it holds the table", || (lab.json(["who", "a"])[0]["pins"] == 1).then_some(()));
        signal(&child, Signal::SIGKILL);
        child.wait().unwrap();
        let who = lab.json(["who", "a"]);
        assert_eq!(who[0]["alive"], false, "{who}");
        assert!(lab.ok(["who", "a"]).contains("faretra recover a"));
        if json {
            let told = lab.json(["recover", "a"]);
            assert_eq!((told["participants"].as_u64(), told["pins"].as_u64()), (Some(1), Some(1)), "{told}");
        } else {
            let told = lab.ok(["recover", "a"]);
            assert!(told.contains("1 dead process: 1 pin"), "{told}");
        }
        assert_eq!(lab.json(["who", "a"]), serde_json::json!([]));
    }
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

#[test]
fn rm_removes_names_old_names_and_arenas() {
    let lab = with_table();
    lab.ok(["put", "a", "u", &lab.file("t.csv")]);
    let names = || -> Vec<String> {
        let list = lab.json(["ls", "a"]);
        let list = list.as_array().unwrap();
        list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(), ["t", "u"]);
    assert_eq!(lab.json(["rm", "a", "--older", "1h"])["names"], serde_json::json!([]));
    assert_eq!(names(), ["t", "u"]);
    lab.ok(["rm", "a", "t"]);
    assert_eq!(names(), ["u"]);
    // Wait until it is old enough, whatever the clock's grain.
    let begin = SystemTime::now();
    until("a moment passed", || (begin.elapsed().ok()? > Duration::from_millis(50)).then_some(()));
    assert_eq!(lab.json(["rm", "a", "--older", "10ms"])["names"], serde_json::json!(["u"]));
    assert_eq!(names(), [""; 0]);
    lab.ok(["rm", "a"]);
    assert_eq!(lab.json(["ls"]), serde_json::json!([]));
    assert_eq!(lab.files(), ["t.csv"]);
}

#[test]
fn ls_of_an_empty_directory_says_what_to_do() {
    let lab = Lab::new();
    assert!(lab.ok(["ls"]).contains("faretra create"));
    lab.ok(["create", "a", "--limit", "64MiB"]);
    assert!(lab.ok(["ls"]).contains("until rm"));
    assert!(lab.ok(["ls", "a"]).contains("faretra put"));
}

#[test]
fn a_watch_ends_with_ctrl_c() {
    let lab = with_table();
    let mut child = lab.command(["stat", "a", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..2 {
        line.clear();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
    signal(&child, Signal::SIGINT);
    let outcome = finish(child);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
}

#[test]
fn a_file_that_is_too_large_is_refused_and_a_smaller_one_then_fits() {
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "8MiB"]);
    too_large(&lab);
}

#[test]
fn a_full_tmpfs_is_an_error_and_nothing_is_lost() {
    let lab = Lab::new();
    let small = lab.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(&small).output();
    match mounted {
        Ok(output) if output.status.success() => {}
        refused => {
            eprintln!("skipped: a tmpfs of 8 MiB cannot be mounted here: {refused:?}");
            return;
        }
    }
    let mount = Mount(small);
    let outcome = lab.run(["create", "a", "--limit", "64MiB", "--dir", &lab.file("small")]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("more than the file system holds"), "{outcome:?}");
    let dir = lab.file("small");
    let run = |args: &[&str]| lab.run(args.iter().copied().chain(["--dir", dir.as_str()]));
    let small = lab.write("small.bin", vec![1; 100_000]);
    let large = lab.write("large.bin", vec![2; 20 << 20]);
    assert_eq!(run(&["put", "a", "kept", &small, "--format", "bytes"]).status.code(), Some(0));
    let outcome = run(&["put", "a", "large", &large, "--format", "bytes"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("no room for"), "{outcome:?}");
    let outcome = run(&["put", "a", "next", &small, "--format", "bytes"]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    for name in ["kept", "next"] {
        assert_eq!(run(&["cat", "a", name]).stdout.len(), 100_000);
    }
    assert_eq!(run(&["verify", "a"]).status.code(), Some(0));
    drop(mount);
}

/// Unmounted when dropped, also when a test fails.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn too_large(lab: &Lab) {
    let small = lab.write("small.bin", vec![1; 100_000]);
    let large = lab.write("large.bin", vec![2; 20 << 20]);
    lab.ok(["put", "a", "kept", &small, "--format", "bytes"]);
    let line = lab.fails(1, ["put", "a", "large", &large, "--format", "bytes"]);
    assert!(line.contains("no room for"), "{line}");
    let mut text = "x,y\n".to_owned();
    text.extend((0..700_000).map(|i| format!("{i},{}\n", i * 7)));
    let table = lab.write("large.csv", text);
    let line = lab.fails(1, ["put", "a", "large", &table]);
    assert!(line.contains("no room for"), "{line}");
    lab.ok(["put", "a", "next", &small, "--format", "bytes"]);
    for name in ["kept", "next"] {
        assert_eq!(lab.ok(["cat", "a", name]).len(), 100_000);
    }
    lab.fails(1, ["cat", "a", "large"]);
    assert_eq!(lab.json(["verify", "a"])["clean"], true);
}

/// CSV readers take an empty text for no value: an export that has some says so, and another does not.
#[test]
fn empty_texts_in_csv_are_told() {
    let lab = Lab::with_arena();
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    let texts = |texts: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let packed: DictionaryArray<Int8Type> = [Some(""), None].into_iter().collect();
    let columns: [(&str, ArrayRef, bool); 3] =
        [("some", texts(["", "x"]), true), ("none", texts(["y", "x"]), false), ("packed", Arc::new(packed), true)];
    for (name, column, told) in columns {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        arena.writer().unwrap().publish(name, &batch).unwrap();
        for args in
            [vec!["cat", "a", name, "--format", "csv"], vec!["export", "a", name, &lab.file(&format!("{name}.csv"))]]
        {
            let outcome = lab.run(&args);
            assert!(outcome.status.success(), "{outcome:?}");
            assert_eq!(outcome.stderr.contains("column `c` has empty texts"), told, "{outcome:?}");
        }
    }
}

/// Every shell gets a script that knows the verbs, and `man` a page for each of them, the same each time.
#[test]
fn shells_and_man_know_the_verbs() {
    let lab = Lab::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = lab.ok(["completions", shell]);
        assert!(script.contains("export") && script.contains("batch-rows"), "{shell}: {script}");
        assert!(!script.contains("demo-part"), "{shell}");
    }
    let told = lab.ok(["man", &lab.file("man")]);
    let pages: Vec<&str> = told.lines().collect();
    assert!(pages.len() > 15 && pages.iter().all(|page| !page.contains("demo-part")), "{told}");
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
        lab.ok(["man", &lab.file("man")]);
        assert_eq!(std::fs::read_to_string(page).unwrap(), text);
    }
    let put = std::fs::read_to_string(lab.path("man/faretra-put.1")).unwrap();
    assert!(put.contains("faretra put") && put.contains("Rows in a batch"), "{put}");
}
