//! Precedence of sources, and messages about mistakes.

use std::path::PathBuf;

use super::*;
use crate::{ErrorKind, url::EngineUrl};

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(project: &str, user: &str) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(files.path("floe.toml"), project).unwrap();
        std::fs::write(files.path("user.toml"), user).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sources(&self) -> Sources {
        Sources::none().project_file(self.path("floe.toml")).user_file(self.path("user.toml"))
    }
}

fn linger(config: &Config) -> u128 {
    config.settings().producer.linger.as_millis()
}

fn refusal(sources: Sources) -> String {
    let error = sources.load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    error.to_string()
}

#[test]
fn sources_have_their_precedence() {
    let files = Files::new(
        "profile = \"p\"\nproducer.linger = \"2ms\"\n[profiles.p]\nproducer.linger = \"4ms\"\n",
        "producer.linger = \"1ms\"\n[profiles.p]\nproducer.linger = \"3ms\"\n[profiles.q]\nurl = \"memory:\"\n",
    );
    let variable = [("FLOE_PRODUCER__LINGER", "5ms")];
    let steps = [
        (Sources::none(), 0, "default"),
        (Sources::none().user_file(files.path("user.toml")), 1, "user.toml:1"),
        (files.sources().variables([("FLOE_PROFILE", "q")]), 2, "floe.toml:2"),
        (
            Sources::none().user_file(files.path("user.toml")).variables([("FLOE_PROFILE", "p")]),
            3,
            "user.toml:3 (profile p)",
        ),
        (files.sources(), 4, "floe.toml:4 (profile p)"),
        (files.sources().variables(variable), 5, "variable FLOE_PRODUCER__LINGER"),
        (files.sources().variables(variable).profile("p"), 4, "floe.toml:4 (profile p)"),
        (
            files.sources().variables(variable).profile("p").flag("--linger", "producer.linger", "7ms"),
            7,
            "flag --linger",
        ),
    ];
    for (sources, millis, origin) in steps {
        let config = sources.load().unwrap();
        assert_eq!(linger(&config), millis, "{origin}");
        let found = config.origin("producer.linger").to_string();
        assert!(found.ends_with(origin), "{found} instead of {origin}");
    }
}

#[test]
fn url_options_are_between_variables_and_flags() {
    let mut url: EngineUrl = "memory:?producer.linger=6ms&consumer.on-gap=skip".parse().unwrap();
    let sources = Sources::none().variables([("FLOE_PRODUCER__LINGER", "5ms")]);
    let mut config = sources.clone().load().unwrap();
    config.take_options(&mut url.clone()).unwrap();
    assert_eq!((linger(&config), config.origin("producer.linger")), (6, SettingOrigin::Url));
    assert_eq!(config.settings().consumer.on_gap, crate::consumer::GapPolicy::Skip);

    let mut config = sources.flag("--linger", "producer.linger", "7ms").load().unwrap();
    config.take_options(&mut url).unwrap();
    assert_eq!(linger(&config), 7);
    assert!(url.options.is_empty(), "the engine is not told");

    let mut config = Config::default();
    config.set("producer.linger", "8ms").unwrap();
    config.take_options(&mut "memory:?producer.linger=6ms".parse().unwrap()).unwrap();
    assert_eq!(linger(&config), 8);
    let error = config.take_options(&mut "memory:?producer.lingr=6ms".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("url: unknown setting \"producer.lingr\""), "{error}");
}

#[test]
fn options_of_an_engine_are_settings_of_its_section() {
    let mut url: EngineUrl = "fluvio://h?request-timeout=3s&window=2".parse().unwrap();
    let mut config = Sources::none().variables([("FLOE_FLUVIO__WINDOW", "5")]).load().unwrap();
    config.set("fluvio.idle", "7s").unwrap();
    config.take_options(&mut url).unwrap();
    let fluvio = &config.settings().fluvio;
    assert_eq!((fluvio.window, fluvio.request_timeout.as_secs(), fluvio.idle.as_secs()), (2, 3, 7));
    assert_eq!(config.origin("fluvio.window"), SettingOrigin::Url);

    let typed = floe_fluvio::FluvioOptions::default().window(4_u32);
    config.put_options(&typed.into());
    let fluvio = &config.settings().fluvio;
    assert_eq!((fluvio.window, fluvio.request_timeout.as_secs()), (4, 3), "a default leaves the choice");
    assert_eq!(config.origin("fluvio.window"), SettingOrigin::Code);

    for (url, expected) in [
        ("fluvio://h?windw=2", "unknown option \"windw\" in fluvio://h:9003: did you mean \"window\"?"),
        ("walrus://h?spu-local=true", "unknown option \"spu_local\""),
        ("walrus://h?prefetch=0", "walrus.prefetch = \"0\": it must be from 1 to 1024"),
        (
            "walrus://h?pool-min=11",
            "walrus.pool_min (url) and walrus.pool_max (default) contradict each other",
        ),
    ] {
        let error = Config::default().take_options(&mut url.parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(expected), "{url}: {error}");
    }
}

#[test]
fn profiles_come_from_both_files() {
    let files =
        Files::new("[profiles.here]\nurl = \"memory:\"\n", "[profiles.there]\nurl = \"walrus://h\"\n");
    let url = |profile: &str| {
        let config = files.sources().profile(profile).load().unwrap();
        assert_eq!(config.profile(), Some(profile));
        config.url().map(ToOwned::to_owned)
    };
    assert_eq!(url("here").as_deref(), Some("memory:"));
    assert_eq!(url("there").as_deref(), Some("walrus://h"));
    let text = refusal(files.sources().profile("thre"));
    assert!(text.contains("no profile \"thre\": did you mean \"there\"?"), "{text}");
    assert_eq!(files.sources().load().unwrap().url(), None, "no profile is in use");
    let by_variable = files.sources().variables([("FLOE_PROFILE", ""), ("FLOE_URL", "memory:")]);
    assert_eq!(by_variable.load().unwrap().origin("url").to_string(), "variable FLOE_URL");
}

#[test]
fn mistakes_name_setting_value_source_and_closest_name() {
    let table = [
        (
            "[producer]\nlingr = \"1ms\"\n",
            "floe.toml:2: unknown setting \"producer.lingr\": did you mean \"producer.linger\"?",
        ),
        (
            "\n[produser]\nlinger = \"1ms\"\n",
            "floe.toml:3: unknown setting \"produser.linger\": did you mean \"producer.linger\"?",
        ),
        ("[zzz]\nyyyyyyyyyyyyyyyyyyy = 1\n", "the sections are client, producer"),
        ("[retry]\nhow_often_at_the_very_most = 1\n", "retry has enabled, max_attempts"),
        ("prfile = \"x\"\n", "did you mean \"profile\"?"),
        ("producer = 3\n", "producer is a section: write producer.NAME or [producer]"),
        (
            "[producer]\nlinger = \"5 parsecs\"\n",
            "floe.toml:2: producer.linger = \"5 parsecs\": write a duration",
        ),
        ("[breaker]\nfailures = 0\n", "floe.toml:2: breaker.failures = \"0\": it must be more than 0"),
        ("[retry]\nmultiplier = 0.5\n", "it must be at least 1"),
        ("[breaker]\nopen_for = \"0\"\n", "breaker.open_for = \"0\": it must be more than 0"),
        ("[consumer]\nprefetch_bytes = 0\n", "consumer.prefetch_bytes = \"0\": it must be more than 0"),
        ("[consumer]\nfetch_bytes = 0\n", "consumer.fetch_bytes = \"0\": it must be more than 0"),
        ("[compression]\ncodec = \"zstd\"\nlevel = 99\n", "level 99, but zstd has 1 to 22"),
        ("[health]\nqueue_warning = 2\n", "from 0 to 1"),
        ("[walrus]\npool_min = 5\npool_max = 4\n", "floe.toml:2) and walrus.pool_max ("),
        ("[fluvio]\nwindow = 0\n", "floe.toml:2: fluvio.window = \"0\": it must be from 1 to 1024"),
        ("[telemetry]\nmetrics_prefix = \"a b\"\n", "telemetry.metrics_prefix = \"a b\": write a letter"),
        (
            "[telemetry]\notlp_headers = \"hush\"\n",
            "telemetry.otlp_headers = ***: write name=value,name=value",
        ),
        ("[profiles.unused]\nlinger = 1\n", "unknown setting \"linger\""),
    ];
    for (project, expected) in table {
        let text = refusal(Files::new(project, "").sources());
        assert!(text.contains(expected), "{text}\n  instead of {expected}");
    }
}

#[test]
fn mistakes_in_variables_name_the_variable() {
    let table = [
        ("FLOE_PRODUCER__LINGR", "1ms", "did you mean \"FLOE_PRODUCER__LINGER\"?"),
        (
            "FLOE_RETRY__MAX_ATTEMPTS",
            "many",
            "variable FLOE_RETRY__MAX_ATTEMPTS: retry.max_attempts = \"many\"",
        ),
        ("FLOE_PROFIL", "x", "unknown variable FLOE_PROFIL: did you mean FLOE_PROFILE?"),
        ("FLOE_ULR", "x", "unknown variable FLOE_ULR: did you mean FLOE_URL?"),
        ("FLOE_PRODUCER_LINGER", "5ms", "did you mean FLOE_PRODUCER__LINGER?"),
        ("FLOE_CONSUMER_PREFETCH_BYTE", "1", "did you mean FLOE_CONSUMER__PREFETCH_BYTES?"),
    ];
    for (name, value, expected) in table {
        let text = refusal(Sources::none().variables([(name, value)]));
        assert!(text.contains(expected), "{text}\n  instead of {expected}");
    }
    // Variables of other programs, those of an orchestrator with a service named floe among them.
    let others =
        ["FLOE_TEST_URLS", "FLOE_HOME", "FLOE_PORT", "FLOE_SERVICE_HOST", "FLOE_PORT_9003_TCP_ADDR", "PATH"];
    Sources::none().variables(others.map(|name| (name, "tcp://10.0.0.1:9003"))).load().unwrap();
    // An empty variable is an unset one.
    Sources::none().variables([("FLOE_PRODUCER__LINGER", ""), ("FLOE_URL", "")]).load().unwrap();
}

#[test]
fn secrets_are_masked_everywhere() {
    let files = Files::new("[telemetry]\notlp_headers = \"key=hush\"\n", "");
    let config = files.sources().load().unwrap();
    let headers = config.settings().telemetry.otlp_headers.as_ref().unwrap();
    assert_eq!(headers.expose(), "key=hush");
    assert!(!format!("{config:?}").contains("hush"));
    let entry = config.entries().into_iter().find(|entry| entry.key == "telemetry.otlp_headers").unwrap();
    assert_eq!(entry.value, "***");
    let text = refusal(Sources::none().flag("--x", "telemetry.otlp_headers", "env:FLOE_NO_SUCH"));
    assert!(text.contains("***: the variable FLOE_NO_SUCH is not set"), "{text}");
}

#[test]
fn every_setting_is_listed_with_its_origin() {
    let mut config = Config::default();
    config.set("url", "memory:").unwrap();
    config.set("limits.rate", "100").unwrap();
    let entries = config.entries();
    assert_eq!(entries.len(), NAMES.len() + 1);
    let of = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap();
    assert_eq!((of("limits.rate").value.as_str(), &of("limits.rate").origin), ("100", &SettingOrigin::Code));
    assert_eq!(
        (of("limits.burst").value.as_str(), &of("limits.burst").origin),
        ("none", &SettingOrigin::Default)
    );
    assert!(config.set("limits.rate", "0").is_err());
}

#[test]
fn printed_defaults_are_accepted() {
    for info in Settings::reference() {
        let key = format!("{}.{}", info.section, info.name);
        let mut config = Config::default();
        config.set(&key, &info.default).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(config.settings, Settings::default(), "{key}");
        assert!(!info.meaning.is_empty() && !info.form.is_empty(), "{key}");
    }
}
