//! TLS connections, and certificate errors.

use floe_testkit::certificates::{Authority, CertificateAndKey};

use crate::{
    cluster::{Cluster, PATIENT},
    support::{Dir, Run},
};

/// Cluster, certificate authority with its certificate in `ca.pem`, and working directory.
struct Scene {
    dir: Dir,
    cluster: Cluster,
    authority: Authority,
}

impl Scene {
    fn new() -> Self {
        let (dir, cluster, authority) = (Dir::new(), Cluster::start(), Authority::new("ours"));
        dir.file("ca.pem", authority.pem().as_bytes());
        cluster.run(&dir, &["smartmodule", "list"]).ok();
        Self { dir, cluster, authority }
    }

    /// Lists SmartModules, which needs the controller only, over a TLS port with this certificate.
    fn list(&self, certificate: &CertificateAndKey, options: &str) -> Run {
        let port = self.cluster.tls_port(Authority::acceptor(certificate, None));
        self.dir.run(&["smartmodule", "list", "--url", &format!("fluvio+tls://{port}?{PATIENT}&{options}")])
    }
}

#[test]
fn certificate_of_the_given_authority_is_trusted() {
    let scene = Scene::new();
    scene.list(&scene.authority.issue(&["127.0.0.1"]), "ca=ca.pem").ok();
    scene.list(&scene.authority.issue(&["sc.example"]), "ca=ca.pem&domain=sc.example").ok();
    scene.list(&Authority::new("other").issue(&["127.0.0.1"]), "verify=false").ok();
}

#[test]
fn system_authorities_are_the_default() {
    let scene = Scene::new();
    let port = scene.cluster.tls_port(Authority::acceptor(&scene.authority.issue(&["127.0.0.1"]), None));
    let list = |variable: &str, file: &str| -> Run {
        let args = ["smartmodule", "list", "--url", &format!("fluvio+tls://{port}?{PATIENT}")];
        scene.dir.command(&args).env(variable, scene.dir.path().join(file)).output().unwrap().into()
    };
    list("SSL_CERT_FILE", "ca.pem").ok();
    scene.dir.file("other.pem", Authority::new("other").pem().as_bytes());
    list("SSL_CERT_FILE", "other.pem").code(5).mentions("UnknownIssuer");
    list("SSL_CERT_FILE", "none.pem").code(2).mentions("give ca=FILE");
}

#[test]
fn invalid_certificates_are_rejected() {
    let scene = Scene::new();
    for (certificate, reason) in [
        (Authority::new("other").issue(&["127.0.0.1"]), "UnknownIssuer"),
        (scene.authority.issue(&["10.0.0.1"]), "not valid for name"),
        (scene.authority.issue_until(&["127.0.0.1"], 2001), "expired"),
    ] {
        let run = scene.list(&certificate, "ca=ca.pem").code(5).prints("");
        run.mentions("(tls_failed)").mentions(reason).mentions("hint: ");
    }
}

#[test]
fn client_certificate_is_required_and_sent() {
    let scene = Scene::new();
    let acceptor = Authority::acceptor(&scene.authority.issue(&["127.0.0.1"]), Some(&scene.authority));
    let port = scene.cluster.tls_port(acceptor);
    let list = |options: &str| {
        scene.dir.run(&[
            "smartmodule",
            "list",
            "--url",
            &format!("fluvio+tls://{port}?{PATIENT}&ca=ca.pem{options}"),
        ])
    };
    list("").code(5).mentions("cert=FILE and key=FILE");
    for (name, authority, code) in [("me", &scene.authority, 0), ("stranger", &Authority::new("other"), 5)] {
        let (cert, key) = authority.issue(&[name]);
        scene.dir.file(&format!("{name}.pem"), cert.as_bytes());
        scene.dir.file(&format!("{name}.key"), key.as_bytes());
        list(&format!("&cert={name}.pem&key={name}.key")).code(code);
    }
    list("&cert=me.pem").code(2).mentions("cert needs key");
    list("&cert=me.pem&key=me.pem").code(2).mentions("client key");
}

#[test]
fn profile_supplies_certificates() {
    let scene = Scene::new();
    let acceptor = Authority::acceptor(&scene.authority.issue(&["sc.example"]), Some(&scene.authority));
    let port = scene.cluster.tls_port(acceptor);
    let (cert, key) = scene.authority.issue(&["me"]);
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let profiles = format!(
        "version = \"2.0\"\ncurrent_profile = \"a\"\n[profile.a]\ncluster = \"a\"\n[cluster.a]\n\
         endpoint = \"{port}\"\n[cluster.a.tls]\ntls_policy = \"verified\"\ntls_source = \"inline\"\n\
         [cluster.a.tls.certs]\ndomain = \"sc.example\"\nca_cert = {}\ncert = {}\nkey = {}\n",
        quote(&scene.authority.pem()),
        quote(&cert),
        quote(&key),
    );
    let path = scene.dir.file("profiles", profiles.as_bytes());
    let mut command = scene.dir.command(&["smartmodule", "list", "--url", &format!("fluvio://?{PATIENT}")]);
    Run::from(command.env("FLV_PROFILE_PATH", path).output().unwrap()).ok();
}

#[test]
fn plain_and_tls_ports_are_not_interchangeable() {
    let scene = Scene::new();
    let port = scene.cluster.tls_port(Authority::acceptor(&scene.authority.issue(&["127.0.0.1"]), None));
    scene
        .dir
        .run(&["smartmodule", "list", "--url", &format!("fluvio://{port}?{PATIENT}")])
        .code(5)
        .mentions("write fluvio+tls:// for a TLS port");
    // A plain server reads the ClientHello as a request length; this one closes the connection, a real one waits.
    let plain = format!("fluvio+tls://{}?{PATIENT}&ca=ca.pem", scene.cluster.address());
    scene.dir.run(&["smartmodule", "list", "--url", &plain]).code(5).mentions("during the TLS handshake");
}

#[test]
fn unresolvable_name_is_reported() {
    let dir = Dir::new();
    for scheme in ["fluvio", "fluvio+tls"] {
        let list = |host: &str| {
            dir.run(&["topic", "list", "--url", &format!("{scheme}://{host}:9003?connect-timeout=60s")])
        };
        // A name with a NUL never reaches a resolver, so the test needs no network.
        list("sc%00.example").code(4).prints("").mentions("example\" cannot be resolved").mentions("hint: ");
        // RFC 6761 reserves this name, so every resolver fails.
        list("sc.invalid").code(4).prints("").mentions("hint: check the address");
    }
}
