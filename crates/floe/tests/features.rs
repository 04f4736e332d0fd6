//! Requests for what this build leaves out are errors that name the feature.
//!
//! In the default build everything is there. `.ci/run features` runs the test without codecs and engines on the network.

use floe::{Client, Codec, ErrorKind, TopicSpec};

/// Tells whether the feature of this name is on.
fn is_on(feature: &str) -> bool {
    match feature {
        "none" => true,
        "gzip" => cfg!(feature = "gzip"),
        "snappy" => cfg!(feature = "snappy"),
        "lz4" => cfg!(feature = "lz4"),
        "zstd" => cfg!(feature = "zstd"),
        "fluvio" => cfg!(feature = "fluvio"),
        "walrus" => cfg!(feature = "walrus"),
        other => panic!("{other} is no feature"),
    }
}

#[track_caller]
fn names_the_feature(error: &floe::Error, kind: ErrorKind, feature: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(&format!("enable the feature {feature:?} of")), "{error}");
}

#[tokio::test]
async fn a_codec_that_is_left_out_is_refused_with_the_name_of_its_feature() {
    let client = Client::connect("memory:").await.unwrap();
    client.admin().create_topic(TopicSpec::new("orders")).await.unwrap();
    for codec in Codec::ALL {
        assert_eq!(codec.is_compiled_in(), is_on(codec.name()), "{codec}");
        match client.producer("orders").compression(codec).start().await {
            Ok(producer) => {
                assert!(is_on(codec.name()), "{codec} is accepted although it is left out");
                producer.send("coffee ".repeat(1000)).await.unwrap();
            }
            Err(error) => {
                assert!(!is_on(codec.name()), "{error}");
                names_the_feature(&error, ErrorKind::InvalidConfig, codec.name());
            }
        }
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_left_out_is_refused_with_the_name_of_its_feature() {
    for (url, feature) in [("fluvio://127.0.0.1:1", "fluvio"), ("walrus://127.0.0.1:1", "walrus")] {
        let error = Client::connect(url).await.unwrap_err();
        if is_on(feature) {
            assert_ne!(error.kind(), ErrorKind::Unsupported, "{error}");
        } else {
            names_the_feature(&error, ErrorKind::Unsupported, feature);
        }
    }
}
