//! What programs that nobody here wrote say of our certificates. `./dev test` installs them; one that is not there is named.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::{jks, roots};

/// A directory with what a client trusts, gone with the test.
struct Trusted(PathBuf);

impl Trusted {
    fn new(name: &str, ca: &CertificateAuthority) -> Self {
        let directory = std::env::temp_dir().join(format!("gigmcp-egress-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("ca.pem"), roots::pem([ca.certificate()])).unwrap();
        std::fs::write(directory.join("ca.jks"), jks::trust_store([ca.certificate()], "changeit")).unwrap();
        std::fs::write(directory.join("Ask.java"), JAVA).unwrap();
        Self(directory)
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Serves one TLS connection with a leaf for this name, whether the authority would mint it or not.
fn serve_once(ca: &CertificateAuthority, name: &str) -> u16 {
    let chain = vec![ca.sign(name).unwrap(), ca.certificate().clone()];
    let leaf = CertifiedKey::new(chain, Arc::clone(&ca.signing_key));
    let config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(leaf)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream));
        // A client that refuses ends the connection.
        drop(stream.read(&mut [0; 1024]));
        drop(stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"));
        drop(stream.get_mut().flush());
        stream.get_mut().conn.send_close_notify();
        drop(stream.get_mut().flush());
    });
    port
}

/// The programs, each of which prints `ok` if it got an answer from that name at that port.
fn clients(trusted: &Path, name: &str, port: u16) -> Vec<Command> {
    let [pem, jks, java] = ["ca.pem", "ca.jks", "Ask.java"].map(|file| trusted.join(file).display().to_string());
    let port = port.to_string();
    let command = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("SSL_CERT_FILE", &pem).env("NODE_EXTRA_CA_CERTS", &pem);
        command
    };
    let resolve = format!("{name}:{port}:127.0.0.1");
    let url = format!("https://{name}:{port}/");
    vec![
        command("curl", &["--silent", "--cacert", &pem, "--resolve", &resolve, &url]),
        command("python3", &["-c", PYTHON, name, &port]),
        command("node", &["-e", NODE, name, &port]),
        command(
            "java",
            &[
                &format!("-Djavax.net.ssl.trustStore={jks}"),
                "-Djavax.net.ssl.trustStoreType=JKS",
                "-Djavax.net.ssl.trustStorePassword=changeit",
                &java,
                name,
                &port,
            ],
        ),
    ]
}

#[test]
fn clients_take_what_is_inside_of_the_constraints_and_nothing_else() {
    let ca = CertificateAuthority::generate(vec!["api.example.com".parse().unwrap()]).unwrap();
    let trusted = Trusted::new("clients", &ca);
    for index in 0..clients(&trusted.0, "", 0).len() {
        for (name, expected) in [("api.example.com", true), ("evil.test", false)] {
            let mut client = clients(&trusted.0, name, serve_once(&ca, name)).remove(index);
            let program = client.get_program().to_owned();
            let output = match client.stdin(Stdio::null()).output() {
                Ok(output) => output,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    eprintln!("{program:?} is not on this machine");
                    continue;
                }
                Err(error) => panic!("{program:?}: {error}"),
            };
            let said = String::from_utf8_lossy(&output.stdout);
            // Java applies the constraints of intermediates, but not those of a certificate that it was told to trust.
            let expected = expected || program == "java";
            assert_eq!(
                said.contains("ok"),
                expected,
                "{program:?}, {name}: {said} {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn openssl_refuses_a_leaf_outside_of_the_constraints() {
    let ca = CertificateAuthority::generate(vec!["*.example.com".parse().unwrap()]).unwrap();
    let trusted = Trusted::new("openssl", &ca);
    for (name, expected) in [("api.example.com", true), ("evil.test", false), ("example.com.evil.test", false)] {
        let leaf = trusted.0.join("leaf.pem");
        std::fs::write(&leaf, roots::pem([&ca.sign(name).unwrap()])).unwrap();
        let arguments = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"];
        let checked = Command::new("openssl").args(arguments).arg(trusted.0.join("ca.pem")).arg(&leaf).output();
        let Ok(checked) = checked else { return eprintln!("openssl is not on this machine") };
        assert_eq!(checked.status.success(), expected, "{name}: {checked:?}");
        assert!(
            expected || String::from_utf8_lossy(&checked.stderr).contains("permitted subtree violation"),
            "{checked:?}"
        );
    }
}

#[test]
fn keytool_reads_the_java_store_and_its_digest() {
    let ca = CertificateAuthority::generate(Vec::new()).unwrap();
    let trusted = Trusted::new("keytool", &ca);
    for (password, expected) in [("changeit", true), ("something-else", false)] {
        let arguments = ["-list", "-storetype", "JKS", "-storepass", password, "-keystore"];
        let listed = Command::new("keytool").args(arguments).arg(trusted.0.join("ca.jks")).output();
        let Ok(listed) = listed else { return eprintln!("keytool is not on this machine") };
        let said = String::from_utf8_lossy(&listed.stdout);
        assert_eq!(listed.status.success() && said.contains("trustedCertEntry"), expected, "{password}: {said}");
    }
}

const PYTHON: &str = "
import socket, ssl, sys
name, port = sys.argv[1], int(sys.argv[2])
with ssl.create_default_context().wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname=name) as s:
    s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
    print(s.recv(4096).decode())
";
const NODE: &str = "
const [name, port] = process.argv.slice(1);
const s = require('tls').connect({ host: '127.0.0.1', port: Number(port), servername: name }, () => s.write('GET / HTTP/1.1\\r\\n\\r\\n'));
s.on('data', (data) => { console.log(data.toString()); s.end(); });
s.on('error', (error) => { console.error(error.code); process.exit(1); });
";
const JAVA: &str = r#"
import javax.net.ssl.*;
import java.util.List;
class Ask {
    public static void main(String[] a) throws Exception {
        SSLSocket s = (SSLSocket) SSLSocketFactory.getDefault().createSocket("127.0.0.1", Integer.parseInt(a[1]));
        SSLParameters p = s.getSSLParameters();
        p.setServerNames(List.of(new SNIHostName(a[0])));
        p.setEndpointIdentificationAlgorithm(null);
        s.setSSLParameters(p);
        s.startHandshake();
        s.getOutputStream().write("GET / HTTP/1.1\r\n\r\n".getBytes());
        byte[] b = new byte[4096];
        System.out.println(new String(b, 0, s.getInputStream().read(b)));
    }
}
"#;
