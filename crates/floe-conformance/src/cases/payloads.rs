//! Contents of records come back unchanged.

use bytes::Bytes;
use floe::{Codec, Record};

use crate::{
    Context, Outcome,
    context::{now, text, texts},
    failure::{check, check_eq, check_refused},
};

/// Sends these values, each in a batch of its own and then all together, and compares what comes back.
async fn check_round_trip(c: &Context, values: &[Vec<u8>]) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    for value in values {
        producer.send(value).await?;
    }
    producer.send_all(values).await?;
    let read = c.read(&topic, values.len() * 2).await?;
    for (message, expected) in read.iter().zip(values.iter().chain(values)) {
        check_eq!(message.value.len(), expected.len(), "length of a value");
        check!(message.value == *expected, "a value of {} bytes came back changed", expected.len());
    }
    Ok(())
}

pub(crate) async fn empty_values_are_kept(c: &Context) -> Outcome {
    check_round_trip(c, &[Vec::new(), b"not empty".to_vec(), Vec::new(), Vec::new()]).await
}

pub(crate) async fn unicode_values_are_kept(c: &Context) -> Outcome {
    let values = [
        "grüße",
        "日本語のテキスト",
        "🦀🌊",
        "a\u{0}b",
        "line\nbreak\r\n\ttab",
        "\u{feff}mark",
        "\"quoted\" \\",
    ];
    let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    check_round_trip(c, &values).await
}

pub(crate) async fn binary_values_are_kept(c: &Context) -> Outcome {
    let every_byte: Vec<u8> = (0..=255).collect();
    let invalid_text = vec![0xff, 0xfe, 0x00, 0xc3, 0x28, 0x80];
    check_round_trip(c, &[every_byte, invalid_text, vec![0; 100], vec![0xff; 100], b"floe".to_vec()]).await
}

pub(crate) async fn mebibyte_values_are_kept(c: &Context) -> Outcome {
    check_round_trip(c, &[noise(1024 * 1024, 1), b"small".to_vec(), noise(1024 * 1024 + 1, 2)]).await
}

pub(crate) async fn sizes_around_the_batch_size_are_kept(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).batch_size(4096).start().await?;
    let sizes = [4000, 4030, 4096, 4097, 1, 8192, 4095, 4020, 0, 12_000];
    let values: Vec<_> = sizes.iter().zip(0..).map(|(size, seed)| noise(*size, seed)).collect();
    producer.send_all(&values).await?;
    let read = c.read(&topic, values.len()).await?;
    for (message, expected) in read.iter().zip(&values) {
        check!(message.value == *expected, "a value of {} bytes came back changed", expected.len());
    }
    Ok(())
}

/// Returns incompressible bytes, determined by the seed.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(size)
    .collect()
}

pub(crate) async fn keys_are_kept(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let long = "k".repeat(10_000);
    let keys = [None, Some("ada"), Some(""), Some("ключ"), None, Some(long.as_str()), Some("")];
    let record = |key: &Option<&str>| {
        let value = format!("of {key:?}");
        key.map_or_else(|| Record::new(value.clone()), |key| Record::keyed(key.to_owned(), value.clone()))
    };
    for key in &keys {
        producer.send(record(key)).await?;
    }
    producer.send_all(keys.iter().map(record)).await?;
    let read = c.read(&topic, keys.len() * 2).await?;
    for (message, key) in read.iter().zip(keys.iter().chain(&keys)) {
        let found = message.key.as_deref().map(text);
        // A missing key differs from an empty one.
        check_eq!(found.as_deref(), *key, "key of record {}", message.offset);
    }
    Ok(())
}

pub(crate) async fn headers_are_kept_in_order(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    for codec in [Codec::None, Codec::Zstd] {
        let producer =
            c.client().producer(&topic).compression(codec).compression_threshold(0).start().await?;
        let many = Record::new("many")
            .header("trace", "1")
            .header("a", "first")
            .header("trace", "2")
            .header("", "empty name")
            .header("empty value", "")
            .header("ünï", vec![0, 255, 128])
            .header("trace", "3");
        producer.send_all([Record::new("none"), many, Record::new("one").header("x", "y")]).await?;
        producer.close().await?.into_result(&topic)?;
    }
    let read = c.read(&topic, 6).await?;
    for three in read.chunks(3) {
        let [none, many, one] = three else { continue };
        check_eq!(none.headers.len(), 0, "headers of a record without any");
        let found: Vec<_> = many.headers.iter().map(|(name, value)| (name, value.to_vec())).collect();
        let expected: Vec<(&str, Vec<u8>)> = vec![
            ("trace", b"1".to_vec()),
            ("a", b"first".to_vec()),
            ("trace", b"2".to_vec()),
            ("", b"empty name".to_vec()),
            ("empty value", Vec::new()),
            ("ünï", vec![0, 255, 128]),
            ("trace", b"3".to_vec()),
        ];
        check_eq!(found, expected, "headers in the order in which they were set");
        check_eq!(one.headers.get("x"), Some(&b"y"[..]), "header of the record after that");
    }
    Ok(())
}

pub(crate) async fn timestamps_are_kept(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let times = [1_700_000_000_000_i64, 1_700_000_000_001, 1_699_999_999_000, 1_700_086_400_000, 1, now()];
    let records = times.iter().map(|time| Record::new(format!("at {time}")).timestamp(*time));
    let placed = producer.send_all(records).await?;
    let acknowledged: Vec<_> = placed.iter().map(|placed| placed.timestamp).collect();
    check_eq!(acknowledged, times, "times acknowledged");
    let read = c.read(&topic, times.len()).await?;
    let found: Vec<_> = read.iter().map(|message| message.timestamp).collect();
    check_eq!(found, times.map(Some), "times read");
    check_eq!(texts(&read)[0], "at 1700000000000", "first value");
    for time in [0, -1] {
        let sent = producer.send(Record::new("lost").timestamp(time)).await;
        check_refused!(sent, InvalidCommand, "a time that batches cannot hold");
    }
    Ok(())
}

pub(crate) async fn default_timestamp_is_the_time_of_sending(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let before = now();
    c.send(&topic, ["now".to_owned()]).await?;
    let after = now();
    let message = c.read(&topic, 1).await?.remove(0);
    let Some(time) = message.timestamp else {
        return Err(crate::CaseFailure::new("the record has no time".to_owned()));
    };
    check!((before..=after).contains(&time), "time {time} is not between {before} and {after}");
    Ok(())
}

pub(crate) async fn a_whole_record_is_kept(c: &Context) -> Outcome {
    let topic = c.topic().await?;
    let producer = c.client().producer(&topic).start().await?;
    let value = Bytes::from_static(b"value");
    let record = Record::keyed("key", value.clone()).header("name", "header").timestamp(1_700_000_000_123);
    let placed = producer.send(record).await?;
    let message = c.read(&topic, 1).await?.remove(0);
    check_eq!(message.key.as_deref(), Some(&b"key"[..]), "key");
    check_eq!(message.value, value, "value");
    check_eq!(message.headers.get("name"), Some(&b"header"[..]), "header");
    check_eq!(message.timestamp, Some(1_700_000_000_123), "time");
    check_eq!((&message.topic, message.partition), (&topic, placed.partition), "place");
    if let Some(offset) = placed.offset {
        check_eq!(message.offset, offset, "offset");
    }
    Ok(())
}
