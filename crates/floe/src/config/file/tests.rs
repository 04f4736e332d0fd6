//! Reading files, and editing them without touching the rest of them.

use super::*;

const SAMPLE: &str = r#"# Mine.
profile = "staging" # for now
url = "embedded:./data"

[producer]
linger = "2ms" # small
max_in_flight = 0x10

[profiles.staging]
url = "fluvio://sc.staging:9003" # do not touch
producer.linger = "5ms"

[profiles.staging.consumer]
commit = "manual"

[profiles.other]
url = "memory:"
"#;

fn sample() -> ConfigFile {
    ConfigFile::parse("floe.toml", SAMPLE).unwrap()
}

fn pairs(raws: &[Raw]) -> Vec<(&str, &str)> {
    raws.iter().map(|raw| (raw.key.as_str(), raw.text.as_str())).collect()
}

#[test]
fn settings_have_their_lines() {
    let file = sample();
    assert_eq!(
        pairs(&file.plain),
        [("producer.linger", "2ms"), ("producer.max_in_flight", "16"), ("url", "embedded:./data")]
    );
    assert_eq!(file.plain[0].origin.to_string(), "floe.toml:6");
    assert_eq!(
        file.profile("staging").unwrap(),
        [("consumer.commit", "manual"), ("producer.linger", "5ms"), ("url", "fluvio://sc.staging:9003")]
    );
    assert_eq!(file.profiles["staging"][0].origin.to_string(), "floe.toml:14 (profile staging)");
    assert_eq!(file.current_profile(), Some("staging"));
    let profiles: Vec<_> = file.profiles().collect();
    assert_eq!(profiles, [("other", Some("memory:")), ("staging", Some("fluvio://sc.staging:9003"))]);
}

#[test]
fn syntax_errors_name_the_line() {
    let table = [
        ("a = 1\nb = = 2\n", "floe.toml:2"),
        ("\n[producer]\nlinger = [1]\n", "floe.toml:3: producer.linger must be text"),
        ("profile = 3\n", "floe.toml:1: profile is the name"),
        ("profiles = 3\n", "floe.toml:1: write [profiles.NAME]"),
        ("[profiles]\nx = 3\n", "floe.toml:2: a profile is a table"),
        ("[producer.linger]\nx.y = 1\n", "floe.toml:1: producer.linger must be text"),
    ];
    for (text, expected) in table {
        let error = ConfigFile::parse("floe.toml", text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn changing_a_url_keeps_the_rest() {
    let mut file = sample();
    file.set_profile("staging", "walrus://a \"b\"\\").unwrap();
    let expected = SAMPLE.replace("\"fluvio://sc.staging:9003\"", "\"walrus://a \\\"b\\\"\\\\\"");
    assert_eq!(file.text(), expected);
}

#[test]
fn a_profile_is_added_at_the_end() {
    let mut file = sample();
    file.set_profile("my cluster", "memory:").unwrap();
    assert_eq!(file.text(), format!("{SAMPLE}\n[profiles.\"my cluster\"]\nurl = \"memory:\"\n"));
    let mut empty = ConfigFile::parse("x", "").unwrap();
    empty.set_profile("one", "memory:").unwrap();
    assert_eq!(empty.text(), "[profiles.one]\nurl = \"memory:\"\n");
    let mut unfinished = ConfigFile::parse("x", "url = \"memory:\"").unwrap();
    unfinished.set_profile("one", "memory:").unwrap();
    assert_eq!(unfinished.text(), "url = \"memory:\"\n\n[profiles.one]\nurl = \"memory:\"\n");
    assert!(empty.set_profile("", "memory:").is_err());
}

#[test]
fn a_profile_without_a_url_gets_one() {
    let mut file = ConfigFile::parse("x", "[profiles.a]\nproducer.linger = \"1ms\"\n").unwrap();
    file.set_profile("a", "memory:").unwrap();
    assert_eq!(file.text(), "[profiles.a]\nurl = \"memory:\"\nproducer.linger = \"1ms\"\n");
}

#[test]
fn removing_a_profile_takes_its_tables_and_its_use() {
    let mut file = sample();
    assert!(file.remove_profile("staging").unwrap());
    assert!(!file.remove_profile("staging").unwrap());
    assert_eq!(
        file.text(),
        "# Mine.\nurl = \"embedded:./data\"\n\n[producer]\nlinger = \"2ms\" # small\nmax_in_flight = 0x10\n\n\
         [profiles.other]\nurl = \"memory:\"\n"
    );
}

#[test]
fn default_profile_is_changed_set_and_unset() {
    let mut file = sample();
    file.use_profile(Some("other")).unwrap();
    assert_eq!(file.text(), SAMPLE.replace("profile = \"staging\"", "profile = \"other\""));
    file.use_profile(None).unwrap();
    assert_eq!(file.current_profile(), None);
    assert!(!file.text().contains("profile = "), "{}", file.text());
    file.use_profile(Some("other")).unwrap();
    assert!(file.text().starts_with("profile = \"other\"\n"));
    let error = file.use_profile(Some("stagign")).unwrap_err();
    assert!(error.to_string().contains("did you mean \"staging\"?"), "{error}");
}

#[test]
fn inline_profiles_are_not_edited() {
    let text = "[profiles]\na = { url = \"memory:\" }\n";
    let mut file = ConfigFile::parse("x", text).unwrap();
    assert!(file.remove_profile("a").unwrap_err().to_string().contains("cannot be edited in place"));
    assert_eq!(file.text(), text);
    // An existing URL can be changed in any notation.
    file.set_profile("a", "walrus://h").unwrap();
    assert_eq!(file.text(), "[profiles]\na = { url = \"walrus://h\" }\n");
}

#[test]
fn file_is_written_atomically_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/floe.toml");
    let mut file = ConfigFile::read(&path).unwrap();
    assert_eq!(file.profiles().count(), 0);
    file.set_profile("one", "memory:").unwrap();
    file.save().unwrap();
    file.use_profile(Some("one")).unwrap();
    file.save().unwrap();
    let again = ConfigFile::read(&path).unwrap();
    assert_eq!((again.current_profile(), again.text()), (Some("one"), file.text()));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn unreadable_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = ConfigFile::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}
