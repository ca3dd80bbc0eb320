//! A hub whose certificate is vouched for by nobody whom the system knows, as behind many a company's proxy.
//!
//! `tests/fixtures/tls` has an authority that exists for this test alone, and a certificate of it for loopback.

use super::{Bench, killed::program};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// Passes one request on to the hub, and its answer back. Nothing of it has to succeed: the client may not trust us.
fn pass_on(client: TcpStream, hub: SocketAddr, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, client);
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        request.push(byte[0]);
    }
    request.truncate(request.len() - 2);
    request.extend(b"connection: close\r\n\r\n");
    let mut server = TcpStream::connect(hub)?;
    server.write_all(&request)?;
    std::io::copy(&mut server, &mut client)?;
    client.conn.send_close_notify();
    client.flush()
}

/// Speaks TLS before a hub. Returns the port.
fn before(hub: SocketAddr) -> u16 {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_file(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || pass_on(client, hub, config));
        }
    });
    port
}

#[test]
fn an_authority_of_ones_own_is_named_in_a_variable() {
    let bench = Bench::new();
    let port = before(bench.hub.endpoint().strip_prefix("http://").unwrap().parse().unwrap());
    let folder = bench.root.path().join("authorities");
    fs::create_dir(&folder).unwrap();
    fs::copy(fixture("ca.pem"), folder.join("ours.pem")).unwrap();
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let lock = |set: Option<(&str, &Path)>| {
        let mut command = program(&bench, &["lock", "awq"]);
        for variable in variables {
            command.env_remove(variable);
        }
        command.env("HF_ENDPOINT", format!("https://localhost:{port}")).envs(set);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = lock(None);
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("its certificate is not trusted") && told.contains("`SSL_CERT_FILE`"), "{told}");
    // A file that names nothing is not the system's fault.
    fs::write(bench.root.path().join("empty.pem"), "").unwrap();
    for name in ["empty.pem", "gone.pem"] {
        let (code, told) = lock(Some(("SSL_CERT_FILE", &bench.root.path().join(name))));
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("where `SSL_CERT_FILE` or `SSL_CERT_DIR` is set"), "{told}");
    }
    let file = fixture("ca.pem");
    for (variable, value) in [
        ("SSL_CERT_FILE", file.as_path()),
        ("SSL_CERT_DIR", folder.as_path()),
        ("REQUESTS_CA_BUNDLE", file.as_path()),
        ("REQUESTS_CA_BUNDLE", folder.as_path()),
        ("CURL_CA_BUNDLE", file.as_path()),
    ] {
        let (code, told) = lock(Some((variable, value)));
        assert_eq!(code, Some(0), "{variable}={}: {told}", value.display());
    }
}
