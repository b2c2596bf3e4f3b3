//! Shows that clients that do not read cost the server no memory for what they do not read.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use crate::support::{Lab, path, table, until};

/// Memory of a process that is its own, and not the arena's.
fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// Shows that 200 clients that ask for a table of 60 MB and stop reading keep less than 0.5 MB each in the server, whatever they
/// have open is answered, another client is served meanwhile, and all get the rest when they read on.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("t", table(2, 1_000_000)).unwrap();
    assert!(arena.table("t").unwrap().nbytes() > 50 << 20);
    let server = lab.serve(&["air", "--no-shm"]);
    let pid = server.child.id();
    let before = own_memory(pid);
    let mut slow = vec![];
    for _ in 0..200 {
        let mut client = server.client().await;
        let info = client.get_flight_info(path(&["t"])).await.unwrap();
        let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        slow.push((stream.next().await.unwrap().unwrap().num_rows(), client, stream));
    }
    // What the server does for them it has done when its memory changes no more.
    let (mut last, mut same) = (0, 0);
    until("the server's memory goes on growing", || {
        let now = own_memory(pid);
        same = if now.abs_diff(last) < 1 << 20 { same + 1 } else { 0 };
        last = now;
        same > 10
    })
    .await;
    assert!(last < before + (100 << 20), "{} MB are kept for 200 clients", (last - before) >> 20);
    let mut quick = server.client().await;
    let info = quick.get_flight_info(path(&["t"])).await.unwrap();
    let stream = quick.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let rows: usize = stream.map_ok(|batch| batch.num_rows()).try_fold(0, async |all, n| Ok(all + n)).await.unwrap();
    assert_eq!(rows, 2_000_000);
    for (first, _, stream) in slow.drain(..3) {
        let rest = stream.map_ok(|batch| batch.num_rows()).try_fold(first, async |all, n| Ok(all + n));
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), rest).await.unwrap().unwrap(), 2_000_000);
    }
    drop(slow);
    drop((quick, info));
}
