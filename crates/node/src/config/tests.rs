use std::{fs::File, net::SocketAddr, num::NonZeroU16, path::PathBuf};

use super::*;

crate::settings! {
    /// A node of a test.
    struct Config {
        /// The unique name of this node,
        /// also its host.
        name: String = host_name() => "host name",
        /// Where it listens.
        listen: Vec<SocketAddr> = vec!["0.0.0.0:5060".parse().unwrap()],
        /// The domains.
        domains: Vec<String> = vec!["localhost".to_owned()],
        /// Ping interval.
        nat_ping_interval: Span = Span::from_secs(25),
        /// How many contacts | bindings.
        max_contacts: NonZeroU16 = NonZeroU16::new(10).unwrap(),
        /// Certificate.
        tls_cert: Option<PathBuf> = None,
        /// Where the admin API listens.
        admin: Option<SocketAddr> = Some("127.0.0.1:9460".parse().unwrap()),
        /// Keys: `current[,previous]`.
        flow_keys: Vec<Secret> = vec![],
        /// Path also for those who do not ask.
        force_path: bool = true,
    }
}

fn load(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let vars = vars.iter();
    load_from("EDGE_", vars.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn error(vars: &[(&str, &str)]) -> String {
    load(vars).unwrap_err().to_string()
}

/// A file with this content; its path lives as long as the file.
fn file(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

mod pitfalls {
    use super::*;

    #[test]
    fn a_list_is_separated_by_commas() {
        let config = load(&[("EDGE_LISTEN", "0.0.0.0:5060,[::]:5060")]).unwrap();
        let expected = ["0.0.0.0:5060", "[::]:5060"].map(|text| text.parse().unwrap());
        assert_eq!(config.listen, expected);
        let config = load(&[("EDGE_DOMAINS", " a.example , b.example, ")]).unwrap();
        assert_eq!(config.domains, ["a.example", "b.example"]);
    }

    #[test]
    fn text_may_look_like_anything() {
        for text in ["12345", "007", "true", "[1, 2]", "{a=1}", "\"quoted\"", "1e3"] {
            let config = load(&[("EDGE_NAME", text), ("EDGE_FLOW_KEYS", "12345")]).unwrap();
            assert_eq!(config.name, text);
            assert_eq!(config.flow_keys.first().unwrap().expose(), "12345");
        }
        let (_folder, path) = file("name = 12345\nforce_path = \"off\"");
        let config = load(&[("EDGE_CONFIG", &path)]).unwrap();
        assert_eq!(config.name, "12345");
        assert!(!config.force_path);
    }

    #[test]
    fn a_typing_error_names_the_variable() {
        assert_eq!(
            error(&[("EDGE_LISTN", "0.0.0.0:5060")]),
            "EDGE_LISTN: no such setting, is EDGE_LISTEN meant?"
        );
        assert_eq!(error(&[("EDGE_COLOUR", "red")]), "EDGE_COLOUR: no such setting");
        assert_eq!(
            error(&[("EDGE_TLS__CERT", "x")]),
            "EDGE_TLS__CERT: no such setting, is EDGE_TLS_CERT meant?"
        );
    }
}

#[test]
fn nothing_set_means_the_defaults() {
    let config = load(&[("PATH", "/bin"), ("CORE_NAME", "other"), ("edge_name", "no")]).unwrap();
    assert_eq!(config.name, host_name());
    assert_eq!(config.nat_ping_interval, Span::from_secs(25));
    assert_eq!(config.tls_cert, None);
}

#[test]
fn an_error_names_the_variable_and_quotes_the_value() {
    assert_eq!(
        error(&[("EDGE_LISTEN", "0.0.0.0:5060,here")]),
        "EDGE_LISTEN: \"here\": invalid socket address syntax"
    );
    assert_eq!(
        error(&[("EDGE_NAT_PING_INTERVAL", "25")]),
        "EDGE_NAT_PING_INTERVAL: \"25\": a duration is a number and a unit: 500ms, 25s, 5m, 1h or 2d"
    );
    assert!(error(&[("EDGE_MAX_CONTACTS", "0")]).starts_with("EDGE_MAX_CONTACTS: \"0\": "));
    assert_eq!(error(&[("EDGE_FORCE_PATH", "maybe")]), "EDGE_FORCE_PATH: \"maybe\": true or false expected");
}

#[test]
fn empty_counts_as_not_set() {
    let config = load(&[
        ("EDGE_NAME", ""),
        ("EDGE_LISTEN", ""),
        ("EDGE_NAT_PING_INTERVAL", ""),
        ("EDGE_TLS_CERT", ""),
        ("EDGE_FLOW_KEYS_FILE", ""),
        ("EDGE_CONFIG", ""),
    ])
    .unwrap();
    assert_eq!(config.name, host_name());
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.tls_cert, None);
}

#[test]
fn empty_takes_an_optional_value_away() {
    assert_eq!(load(&[("EDGE_ADMIN", "")]).unwrap().admin, None);
    let (_folder, path) = file("tls_cert = \"from-file.pem\"");
    let config = load(&[("EDGE_CONFIG", &path), ("EDGE_TLS_CERT", "")]).unwrap();
    assert_eq!(config.tls_cert, None);
}

#[test]
fn environment_wins_over_file_over_default() {
    let (_folder, path) = file(
        "domains = [\"a.example\", \"b.example\"]\n\
         nat_ping_interval = \"10s\"\n\
         max_contacts = 3\n\
         listen = \"127.0.0.1:1,127.0.0.1:2\"",
    );
    let config = load(&[("EDGE_CONFIG", &path), ("EDGE_NAT_PING_INTERVAL", "5s")]).unwrap();
    assert_eq!(config.domains, ["a.example", "b.example"]);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.max_contacts.get(), 3);
    assert_eq!(config.nat_ping_interval, Span::from_secs(5));
    assert!(config.force_path);
}

#[test]
fn a_list_in_the_environment_replaces_that_of_the_file() {
    let (_folder, path) = file("domains = [\"a.example\", \"b.example\"]");
    let config = load(&[("EDGE_CONFIG", &path), ("EDGE_DOMAINS", "c.example")]).unwrap();
    assert_eq!(config.domains, ["c.example"]);
}

#[test]
fn a_named_file_must_exist_and_be_readable() {
    let missing = error(&[("EDGE_CONFIG", "/nowhere/node.toml")]);
    assert!(missing.starts_with("EDGE_CONFIG: "), "{missing}");
    assert!(missing.contains("/nowhere/node.toml"), "{missing}");
    let (_folder, path) = file("name = ");
    let broken = error(&[("EDGE_CONFIG", &path)]);
    assert!(broken.starts_with("EDGE_CONFIG: ") && !broken.contains('\n'), "{broken}");
}

#[test]
fn an_error_in_the_file_names_file_and_key() {
    let (_folder, path) = file("max_contacts = -1");
    let problem = error(&[("EDGE_CONFIG", &path)]);
    assert!(problem.starts_with("EDGE_MAX_CONTACTS (`max_contacts` in "), "{problem}");
    assert!(problem.contains("node.toml): \"-1\": "), "{problem}");
    let (_folder, path) = file("max_contact = 1");
    let problem = error(&[("EDGE_CONFIG", &path)]);
    assert!(problem.ends_with("no such setting, is max_contacts meant?"), "{problem}");
    let (_folder, path) = file("[name]\nfirst = \"a\"");
    assert!(error(&[("EDGE_CONFIG", &path)]).contains("not a table"));
    let (_folder, path) = file("name = [\"a\", \"b\"]");
    assert!(error(&[("EDGE_CONFIG", &path)]).contains("not a list"));
}

#[test]
fn a_secret_comes_from_a_file() {
    let (_folder, path) = file("current,previous\n");
    let config = load(&[("EDGE_FLOW_KEYS_FILE", &path)]).unwrap();
    let keys: Vec<&str> = config.flow_keys.iter().map(Secret::expose).collect();
    assert_eq!(keys, ["current", "previous"]);
}

#[test]
fn a_secret_has_one_source() {
    let (_folder, path) = file("key");
    let both = error(&[("EDGE_FLOW_KEYS", "key"), ("EDGE_FLOW_KEYS_FILE", &path)]);
    assert_eq!(both, "EDGE_FLOW_KEYS_FILE: set together with EDGE_FLOW_KEYS");
    assert!(load(&[("EDGE_FLOW_KEYS", ""), ("EDGE_FLOW_KEYS_FILE", &path)]).is_ok());
    let missing = error(&[("EDGE_FLOW_KEYS_FILE", "/nowhere")]);
    assert!(missing.starts_with("EDGE_FLOW_KEYS_FILE: /nowhere: "), "{missing}");
}

#[test]
fn only_secrets_come_from_files() {
    assert_eq!(error(&[("EDGE_NAME_FILE", "/nowhere")]), "EDGE_NAME_FILE: no such setting");
}

#[test]
fn service_links_are_overlooked() {
    let links = [
        ("EDGE_SERVICE_HOST", "10.0.0.1"),
        ("EDGE_SERVICE_PORT", "5060"),
        ("EDGE_SERVICE_PORT_SIP_TLS", "5061"),
        ("EDGE_PORT", "tcp://10.0.0.1:5060"),
        ("EDGE_PORT_5060_TCP", "tcp://10.0.0.1:5060"),
        ("EDGE_PORT_5060_TCP_PROTO", "tcp"),
        ("EDGE_PORT_5060_UDP_PORT", "5060"),
        ("EDGE_PORT_5060_SCTP_ADDR", "10.0.0.1"),
        ("EDGE_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("EDGE_ADMIN_PORT", "tcp://10.0.0.1:9460"),
        ("EDGE_ADMIN_PORT_9460_TCP_ADDR", "10.0.0.1"),
    ];
    for link in links {
        assert!(load(&[link]).is_ok(), "{}", link.0);
    }
}

#[test]
fn what_only_resembles_a_service_link_is_an_error() {
    let others = [
        ("EDGE_PORT", "5060"),
        ("EDGE_SERVICE", "x"),
        ("EDGE_SERVICE_HOSTS", "x"),
        ("EDGE_PORT_SIP_TCP", "x"),
        ("EDGE_PORT_5060_TCP_NAME", "x"),
        ("EDGE_PORT_99999_TCP", "x"),
        ("EDGE_TRANSPORT", "tcp://x"),
    ];
    for other in others {
        assert!(load(&[other]).is_err(), "{}", other.0);
    }
}

#[test]
fn the_effective_configuration_hides_secrets_and_can_be_read_again() {
    let config = load(&[
        ("EDGE_NAME", "one"),
        ("EDGE_LISTEN", "127.0.0.1:5060,[::1]:5060"),
        ("EDGE_TLS_CERT", "cert.pem"),
        ("EDGE_ADMIN", ""),
        ("EDGE_FLOW_KEYS", "geheim,geheimer"),
    ])
    .unwrap();
    let text = check_text("EDGE_", &config);
    assert_eq!(
        text,
        "EDGE_NAME=one\n\
         EDGE_LISTEN=127.0.0.1:5060,[::1]:5060\n\
         EDGE_DOMAINS=localhost\n\
         EDGE_NAT_PING_INTERVAL=25s\n\
         EDGE_MAX_CONTACTS=10\n\
         EDGE_TLS_CERT=cert.pem\n\
         EDGE_ADMIN=\n\
         EDGE_FLOW_KEYS=***\n\
         EDGE_FORCE_PATH=true\n"
    );
    assert!(!format!("{config:?}").contains("geheim"));
    let again: Vec<(&str, &str)> = text.lines().map(|line| line.split_once('=').unwrap()).collect();
    assert_eq!(check_text("EDGE_", &load(&again).unwrap()), text);
}

#[test]
fn the_table_has_a_row_for_each_variable() {
    let table = table("EDGE_", &Config::default());
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 2 + Config::FIELDS.len() + 1);
    for row in [
        "| variable | meaning | default |",
        "| `EDGE_NAME` | The unique name of this node, also its host. | host name |",
        "| `EDGE_NAT_PING_INTERVAL` | Ping interval. | `25s` |",
        "| `EDGE_MAX_CONTACTS` | How many contacts \\| bindings. | `10` |",
        "| `EDGE_TLS_CERT` | Certificate. | none |",
        "| `EDGE_FLOW_KEYS` | Keys: `current[,previous]`. Or `EDGE_FLOW_KEYS_FILE`: a file that holds it. | none |",
    ] {
        assert!(rows.contains(&row), "{row}\n{table}");
    }
}

#[test]
fn an_unreadable_secret_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    File::create(&path).unwrap();
    fs::write(&path, [0xff, 0xfe]).unwrap();
    let problem = error(&[("EDGE_FLOW_KEYS_FILE", path.to_str().unwrap())]);
    assert!(problem.starts_with("EDGE_FLOW_KEYS_FILE: "), "{problem}");
}

#[test]
fn distance_counts_changes() {
    for (a, b, changes) in
        [("", "", 0), ("cores", "corres", 1), ("listen", "listn", 1), ("abc", "", 3), ("ab", "ba", 2)]
    {
        assert_eq!(distance(a, b), changes, "{a} {b}");
    }
}
