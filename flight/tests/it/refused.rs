//! Shows who is not let in: without a token, with a wrong one, without TLS, with another's certificate; and where nobody listens.

use faretra_flight::Client;
use faretra_flight::arrow_flight::Ticket;
use futures_util::TryStreamExt;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::support::{Lab, encoded, file, path, rows, said};

/// Shows that every kind of request needs the token, which is said as a bearer's or as a password.
#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let lab = Lab::new();
    lab.arena("air").writer().unwrap().publish("t", rows(0, 10)).unwrap();
    std::fs::write(lab.path().join("token"), "open-sesame\n").unwrap();
    let server = lab.serve(&["air", "--token-file", "token"]);
    for (header, lets_in) in [
        (None, false),
        (Some("Bearer open-sesame"), true),
        (Some("bearer  open-sesame"), true),
        // user:open-sesame
        (Some("Basic dXNlcjpvcGVuLXNlc2FtZQ=="), true),
        (Some("Basic dXNlcjpvcGVuLXNlc2FtZQ"), true),
        (Some("Basic dXNlcjpvcGVuLXNlc2FtZA=="), false),
        (Some("Basic open-sesame"), false),
        (Some("Bearer open-sesam"), false),
        (Some("Bearer open-sesamf"), false),
        (Some("Bearer open-sesamee"), false),
        (Some("Bearer "), false),
        (Some("open-sesame"), false),
        (Some("Digest open-sesame"), false),
    ] {
        let mut client = server.client().await;
        if let Some(header) = header {
            client.add_header("authorization", header).unwrap();
        }
        let ticket = Ticket::new(r#"{"name": "t"}"#);
        let data = encoded(path(&["new"]), vec![rows(0, 1)]);
        let answers = [
            client.handshake("").await.map(|_| ()),
            client.get_flight_info(path(&["t"])).await.map(|_| ()),
            client.do_get(ticket).await.map(|_| ()),
            client.list_flights("").await.map(|_| ()),
            client.list_actions().await.map(|_| ()),
            match client.do_put(data).await {
                Ok(results) => results.try_collect::<Vec<_>>().await.map(|_| ()),
                Err(e) => Err(e),
            },
        ];
        for (at, answer) in answers.iter().enumerate() {
            match answer {
                Ok(()) => assert!(lets_in, "{header:?} {at}"),
                Err(e) => assert!(!lets_in && said(e).starts_with("Unauthenticated"), "{header:?} {at}: {}", said(e)),
            }
        }
    }
    let mut client = Client::connect(&server.http()).await.unwrap().with_token("open-sesame").unwrap();
    assert!(client.get(&["t"]).await.unwrap().is_in_place());
}

/// Shows that a server does not start where other machines reach it, without a token or TLS, or with what is none.
#[test]
fn starts() {
    let lab = Lab::new();
    lab.arena("air");
    std::fs::write(lab.path().join("empty"), "\n").unwrap();
    std::fs::write(lab.path().join("no.pem"), "no certificate").unwrap();
    for (args, code, why) in [
        (vec!["air", "--listen", "0.0.0.0:0"], 1, "can be reached from other machines"),
        (vec!["air", "--listen", "[::]:0"], 1, "can be reached from other machines"),
        (vec!["air", "--token-file", "nope"], 1, "cannot read nope"),
        (vec!["air", "--token-file", "empty"], 1, "the token is empty"),
        (vec!["air", "--tls-cert", "no.pem", "--tls-key", "no.pem"], 1, "both are PEM files"),
        (vec!["air", "--tls-cert", "no.pem"], 2, "--tls-key"),
        (vec!["air", "air"], 1, "named twice"),
        (vec!["sea"], 1, "faretra create sea"),
        (vec![], 2, "ARENA"),
        (vec!["air", "--listen", "nowhere"], 2, "127.0.0.1:50051"),
    ] {
        let (found, text) = lab.fails(&args);
        assert!(found == Some(code) && text.contains(why), "{args:?}: {found:?} {text}");
    }
}

/// Shows that TLS lets in who knows the certificate, and nobody who knows another or speaks without.
#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let lab = Lab::new();
    lab.arena("air").writer().unwrap().publish("t", rows(0, 10)).unwrap();
    let (cert, key) = (file("server.pem"), file("server.key"));
    let server = lab.serve(&["air", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    assert!(server.address.starts_with("grpc+tls://"));
    let secure = |known: &str| {
        let ca = Certificate::from_pem(std::fs::read(file(known)).unwrap());
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
        Endpoint::from_shared(format!("https://{}", server.host())).unwrap().tls_config(tls).unwrap()
    };
    let mut client = Client::new(secure("server.pem").connect().await.unwrap()).in_place(false);
    assert_eq!(client.get(&["t"]).await.unwrap().collect().await.unwrap()[0], rows(0, 10));
    assert!(secure("other.pem").connect().await.is_err());
    let plain = Endpoint::from_shared(server.http()).unwrap().connect().await;
    if let Ok(channel) = plain {
        assert!(Client::new(channel).get(&["t"]).await.is_err());
    }
    // And a client with TLS does not speak with a server without.
    let open = lab.serve(&["air"]);
    let ca = Certificate::from_pem(std::fs::read(file("server.pem")).unwrap());
    let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{}", open.host())).unwrap().tls_config(tls).unwrap();
    assert!(endpoint.connect().await.is_err());
    assert!(open.client().await.get_flight_info(path(&["t"])).await.is_ok());
}

/// Shows that a message over the limit is refused with the numbers and a remedy, and publishes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn long_messages() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let server = lab.serve(&["air", "--max-message", "100000"]);
    for first in [true, false] {
        let mut batches = vec![rows(0, 10), rows(0, 40_000)];
        batches.truncate(2);
        if first {
            batches.remove(0);
        }
        let data = encoded(path(&["t"]), batches);
        let answer = match server.client().await.do_put(data).await {
            Ok(results) => results.try_collect::<Vec<_>>().await.map(|_| ()),
            Err(e) => Err(e),
        };
        let error = said(&answer.unwrap_err());
        assert!(error.contains("the limit is: 100000 bytes") && error.contains("--max-message"), "{error}");
    }
    assert!(arena.get("t").is_err());
}
