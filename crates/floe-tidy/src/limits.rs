//! The limits, the words and the exceptions of all rules.

/// An exception from a rule.
#[derive(Debug)]
pub struct Exception {
    /// A name, or the beginning of a path, as the rule says.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

const fn except(name: &'static str, reason: &'static str) -> Exception {
    Exception { name, reason }
}

/// The crates of the workspace that a crate may depend on.
#[derive(Debug)]
pub struct Arrows {
    /// The crate.
    pub from: &'static str,
    /// Its dependencies.
    pub to: &'static [&'static str],
    /// Further dependencies of its tests.
    pub tests: &'static [&'static str],
}

/// Lines of a file.
pub const FILE_LINES: usize = 600;

/// Lines of a function, from its signature to its closing brace.
pub const FUNCTION_LINES: usize = 70;

/// Functions that may be longer.
pub const LONG_FUNCTIONS: &[Exception] = &[];

/// Words and phrases that comments, messages and pages do not have, and what to write.
pub const WORDS: &[(&str, &str)] = &[
    ("somebody", "name the component or the role"),
    ("nobody", "name the component or the role"),
    ("anybody", "name the component or the role"),
    ("everybody", "name the component or the role"),
    ("whoever", "name the component or the role"),
    ("try again", "write \"retry\""),
    ("tries again", "write \"retries\""),
    ("tried again", "write \"retried\""),
    ("used again", "write \"reused\""),
    ("back-pressure", "write \"backpressure\""),
    ("no doubles", "write \"duplicate\" or \"idempotent\""),
];

/// Files below these paths may use the words.
pub const WORDS_QUOTED: &[Exception] =
    &[except("crates/floe-tidy/src/limits.rs", "lists them"), except("CONTRIBUTING.md", "lists them")];

/// Words that comments do not open with.
pub const OPENERS: &[&str] =
    &["What", "Whatever", "Whoever", "Nobody", "Somebody", "Everybody", "Those", "That"];

/// Share of comments that may open so all the same, in percent of a package's comments.
pub const OPENERS_PERCENT: usize = 1;

/// Names of files and folders that name no subject.
pub const FILE_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

/// Names of types that do not say of what.
pub const VAGUE_TYPES: &[&str] = &["State", "Shared", "Inner", "Entry", "Place", "Job"];

/// Names that several public types may have.
pub const SHARED_NAMES: &[Exception] = &[
    except("Error", "each library has its own, always written with its module or crate"),
    except("Result", "the alias beside each `Error`"),
    except(
        "Durability",
        "one word for one choice; `floe-log` works without `floe`, and `floe` never shows its types",
    ),
    except(
        "crates/floe/src/blocking/",
        "has the names of the async API, in a module that says which is meant",
    ),
    except("crates/floe/src/telemetry/noop.rs", "stands in for the module's types where the feature is off"),
];

/// Crates whose types public signatures name only where the library re-exports them.
pub const INNER_CRATES: &[&str] = &["floe_log", "floe_wire", "tokio"];

/// Files, or types of inner crates, by the beginning of their path, that are left out of that rule.
pub const EXPOSED: &[Exception] = &[
    except("crates/floe-log/src/", "takes and returns batches as `floe-wire` encodes them; see decision 2"),
    except("crates/floe-embedded/src/", "runs over a log that its caller may open and keep using"),
];

/// Packages outside the workspace, which may reach into it by `#[path]`.
pub const FOREIGN_PATHS: &[Exception] =
    &[except("fuzz/", "targets run the checks of tests, which no crate publishes")];

/// Keys that the manifest of a published crate has, by itself or by the workspace.
pub const MANIFEST_KEYS: &[&str] =
    &["categories", "description", "keywords", "license", "readme", "repository", "rust-version"];

/// The arrows between crates.
pub const ARROWS: &[Arrows] = &[
    Arrows { from: "floe-wire", to: &[], tests: &[] },
    Arrows { from: "floe-log", to: &["floe-wire"], tests: &[] },
    Arrows { from: "floe-core", to: &["floe-wire"], tests: &["floe-testkit"] },
    Arrows { from: "floe-fluvio", to: &["floe-core", "floe-wire"], tests: &["floe-testkit"] },
    // The journal of Walrus is an embedded log, behind a feature.
    Arrows {
        from: "floe-walrus",
        to: &["floe-core", "floe-embedded", "floe-wire"],
        tests: &["floe-testkit"],
    },
    Arrows { from: "floe-check", to: &[], tests: &[] },
    Arrows { from: "floe-group", to: &[], tests: &[] },
    Arrows { from: "floe-embedded", to: &["floe-core", "floe-log", "floe-wire"], tests: &["floe-testkit"] },
    Arrows {
        from: "floe",
        // The spool of the outbox is a log of its own.
        to: &[
            "floe-check",
            "floe-core",
            "floe-embedded",
            "floe-fluvio",
            "floe-group",
            "floe-log",
            "floe-walrus",
            "floe-wire",
        ],
        tests: &["floe-testkit"],
    },
    Arrows {
        from: "floe-server",
        to: &["floe", "floe-wire"],
        tests: &["floe-check", "floe-conformance", "floe-log", "floe-testkit"],
    },
    Arrows { from: "floe-cli", to: &["floe", "floe-check", "floe-server"], tests: &["floe-testkit"] },
    Arrows { from: "floe-testkit", to: &["floe-core", "floe-wire"], tests: &[] },
    Arrows { from: "floe-conformance", to: &["floe", "floe-wire"], tests: &["floe-testkit"] },
    Arrows {
        from: "floe-sim",
        to: &[
            "floe",
            "floe-check",
            "floe-conformance",
            "floe-group",
            "floe-log",
            "floe-server",
            "floe-testkit",
            "floe-wire",
        ],
        tests: &[],
    },
    Arrows { from: "floe-oracle", to: &[], tests: &["floe", "floe-server", "floe-testkit", "floe-wire"] },
    Arrows { from: "floe-tidy", to: &[], tests: &[] },
];

/// Findings that each rule still lets pass. The numbers only become smaller; at 0 for all rules, this module goes.
pub mod open {
    /// Files that are too long.
    pub const FILES: usize = 0;
    /// Functions that are too long.
    pub const FUNCTIONS: usize = 2;
    /// Banned words.
    pub const WORDS: usize = 0;
    /// Comments that open with a banned opener.
    pub const OPENERS: usize = 0;
    /// Types that do not say of what.
    pub const VAGUE_TYPES: usize = 0;
    /// Names that several public types have.
    pub const COLLISIONS: usize = 2;
    /// `#[path]` attributes that leave their crate.
    pub const FOREIGN_PATHS: usize = 0;
    /// Keys that manifests of published crates lack.
    pub const MANIFESTS: usize = 0;
    /// Edges between the modules of circles.
    pub const CIRCLES: usize = 0;
}
