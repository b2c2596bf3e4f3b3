//! Shows who is not let in: without a token, with a wrong one, without TLS; and where workers do not listen.

use faretra_distributed::Coordinator;

use crate::support::{Cluster, Host, answer, batches, tls_file, within};

/// Shows that addresses that others reach ask for a token or TLS, and what else is refused at the start.
#[test]
fn workers_do_not_listen_in_the_open() {
    let host = Host::new();
    host.arena("air");
    std::fs::write(host.path().join("empty"), "\n").unwrap();
    std::fs::write(host.path().join("no.pem"), "no certificate").unwrap();
    for (args, code, why) in [
        (vec!["air", "--listen", "0.0.0.0:0"], 1, "everybody there could read the arenas"),
        (vec!["air", "--listen", "[::]:0"], 1, "give --token-file"),
        (vec!["air", "air"], 1, "arena `air` is named twice"),
        (vec!["air", "--token-file", "empty"], 1, "the token is empty"),
        (vec!["air", "--token-file", "nowhere"], 1, "cannot read nowhere"),
        (vec!["air", "--tls-cert", "no.pem", "--tls-key", "no.pem"], 1, "both are PEM files"),
        (vec!["air", "--tls-cert", "no.pem"], 2, "--tls-key"),
        (vec![], 2, "ARENA"),
    ] {
        let args: Vec<&str> = ["worker"].into_iter().chain(args).collect();
        let (got, text) = host.fails(&args);
        assert_eq!(got, Some(code), "{args:?}: {text}");
        assert!(text.contains(why), "{args:?}: {text}");
    }
}

/// Shows that workers with a token answer who knows it, each other too, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let files = Host::new();
    let token = files.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let cluster = Cluster::new(2, &[("t", batches(4, 500))], &["--token-file", token.to_str().unwrap()]);
    for (given, why) in [(None, "asks for a token"), (Some("other"), "not this worker's"), (Some("s3creT"), "not this")]
    {
        let coordinator = Coordinator::new(cluster.addresses());
        let coordinator = given.into_iter().fold(coordinator, |coordinator, token| coordinator.token(token));
        let refused = within(coordinator.connect()).await.map(drop).expect_err("a token is asked for").to_string();
        assert!(refused.contains(why), "{refused}");
        assert!(cluster.workers.iter().any(|worker| refused.contains(&worker.address)), "{refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
    let session = within(Coordinator::new(cluster.addresses()).token("s3cret").connect()).await.unwrap();
    // Rows go from worker to worker.
    let sql = "SELECT count(*) AS n FROM t a JOIN t b ON a.id = b.k";
    assert_eq!(answer(&session, sql).await[3].matches("1714").count(), 1);
}

/// Shows that workers with TLS answer who trusts their authority, each other too, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let (cert, key) = (tls_file("server.pem"), tls_file("server.key"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let options = ["--tls-cert", cert, "--tls-key", key, "--tls-ca", cert];
    let cluster = Cluster::new(2, &[("t", batches(4, 500))], &options);
    let addresses = || cluster.workers.iter().map(|worker| worker.address.replace("127.0.0.1", "localhost"));
    assert!(cluster.workers[0].address.starts_with("https://"));
    let known = std::fs::read(tls_file("server.pem")).unwrap();
    let session = within(Coordinator::new(addresses()).authority(known).connect()).await.unwrap();
    let sql = "SELECT count(*) AS n FROM t a JOIN t b ON a.id = b.k";
    assert_eq!(answer(&session, sql).await[3].matches("1714").count(), 1);
    let other = std::fs::read(tls_file("other.pem")).unwrap();
    assert!(within(Coordinator::new(addresses()).authority(other).connect()).await.is_err());
    let why = within(Coordinator::new(addresses()).connect()).await.map(drop).expect_err("no authority").to_string();
    assert!(why.contains("--tls-ca"), "{why}");
    let plain = addresses().map(|address| address.replace("https", "http"));
    assert!(within(Coordinator::new(plain).connect()).await.is_err());
}
