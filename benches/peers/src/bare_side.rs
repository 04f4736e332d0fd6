//! Upper bounds without a client: the speed of the server, the loopback interface and the codecs.
//!
//! Reading uses a blocking socket and one buffer, and discards the replies. Writing sends batches that are encoded before the
//! clock starts. Encoding builds batches of floe's size and discards them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::Bytes;
use floe_wire::{
    batch::{BatchBuilder, BatchHeader, EncodedBatch, FinishOptions},
    compress::{Codec as WireCodec, Compression},
    fluvio::{
        AbortedTransaction, EncodedFrame, ErrorCode, Input, Isolation, OffsetUpdate, PartitionProduceData,
        ProduceRequest, RecordSet, SPU_VERSIONS, StreamFetchRequest, TopicProduceData, UpdateOffsetsRequest,
        Wire, frame,
    },
};
use rustix::net::sockopt::set_tcp_quickack;

use crate::{
    Outcome,
    figures::Figures,
    job::{BenchmarkJob, Codec, Work},
    payload::Payload,
    usage::Meter,
};

/// Read timeout.
const SILENCE: Duration = Duration::from_secs(10);

/// Batches in flight.
const WINDOW: usize = 5;

/// Batch size of floe on Fluvio, in bytes.
const DEFAULT_BATCH: usize = 256 * 1024;

/// Upper bound of the bytes before the records of a reply.
const BEFORE_RECORDS: usize = 1024;

const STREAM: i32 = 1;
const VERSION: i16 = SPU_VERSIONS.max;

pub(crate) fn run(job: &BenchmarkJob) -> Outcome<Figures> {
    match job.work {
        Work::Produce { size, batch, codec } => write(job, size, (batch, codec)),
        Work::Consume { max_bytes, .. } => read(job, max_bytes.unwrap_or(1024 * 1024)),
        Work::Encode { size, batch, codec } => encode_only(job, size, (batch, codec)),
        Work::Latency { .. } | Work::Stall { .. } => Err("needs a client".into()),
    }
}

/// Encodes the batches of a job one by one.
fn batches(
    job: &BenchmarkJob,
    size: usize,
    (batch, codec): (Option<usize>, Codec),
    mut take: impl FnMut(EncodedBatch),
) -> Outcome<()> {
    let limit = batch.unwrap_or(DEFAULT_BATCH);
    let compression = Compression::new(match codec {
        Codec::None => WireCodec::None,
        Codec::Lz4 => WireCodec::Lz4,
        Codec::Zstd => WireCodec::Zstd,
    });
    let options = FinishOptions { compression, ..FinishOptions::default() };
    let mut payload = Payload::new(size);
    let mut builder = BatchBuilder::new(limit);
    for number in 0..job.records {
        let value = payload.record(number);
        if !builder.is_empty() && builder.len() + BatchBuilder::record_len(None, value, &[]) > limit {
            take(std::mem::replace(&mut builder, BatchBuilder::new(limit)).finish(options)?);
        }
        builder.append(1_700_000_000_000, None, value, &[])?;
    }
    take(builder.finish(options)?);
    Ok(())
}

fn encode_only(job: &BenchmarkJob, size: usize, how: (Option<usize>, Codec)) -> Outcome<Figures> {
    let mut bytes = 0;
    let meter = Meter::start();
    batches(job, size, how, |batch| bytes += batch.len() as u64)?;
    Ok(Figures { records: job.records, bytes, ..meter.stop() })
}

fn write(job: &BenchmarkJob, size: usize, how: (Option<usize>, Codec)) -> Outcome<Figures> {
    let mut made = Vec::new();
    batches(job, size, how, |batch| made.push(batch))?;
    let mut socket = Socket::open(job)?;
    let bytes = made.iter().map(|batch| batch.len() as u64).sum();
    let meter = Meter::start();
    let mut errors = 0;
    let mut answered = 0;
    for (sent, batch) in made.iter().enumerate() {
        if sent >= answered + WINDOW {
            errors += socket.acknowledgement()?;
            answered += 1;
        }
        let data = PartitionProduceData {
            partition: 0,
            records: RecordSet::from_batches([batch]),
            ..Default::default()
        };
        let request = ProduceRequest {
            isolation: Isolation::ReadUncommitted,
            timeout_ms: 10_000,
            topics: vec![TopicProduceData { name: job.topic.clone(), partitions: vec![data] }],
            ..ProduceRequest::default()
        };
        socket.send(&frame::encode_request(&request, VERSION, sent as i32, "bare")?)?;
    }
    for _ in answered..made.len() {
        errors += socket.acknowledgement()?;
    }
    Ok(Figures { records: job.records, bytes, errors, ..meter.stop() })
}

fn read(job: &BenchmarkJob, max_bytes: i32) -> Outcome<Figures> {
    let mut socket = Socket::open(job)?;
    let meter = Meter::start();
    let request = StreamFetchRequest {
        topic: job.topic.clone(),
        max_bytes,
        isolation: Isolation::ReadUncommitted,
        ..StreamFetchRequest::default()
    };
    socket.send(&frame::encode_request(&request, VERSION, STREAM, "bare")?)?;
    let (mut next, mut bytes) = (0, 0);
    while next < job.records as i64 {
        let frame = socket.receive()?;
        let mut input = Input::new(Bytes::copy_from_slice(&frame[..frame.len().min(BEFORE_RECORDS)]));
        if input.i32()? != STREAM {
            continue;
        }
        input.string()?;
        let stream_id = u32::decode(&mut input, VERSION)?;
        let _partition = u32::decode(&mut input, VERSION)?;
        let error: ErrorCode = Wire::decode(&mut input, VERSION)?;
        if !error.is_success() {
            return Err(format!("{error:?}").into());
        }
        for _high_filtered_start in 0..3 {
            i64::decode(&mut input, VERSION)?;
        }
        let _aborted: Option<Vec<AbortedTransaction>> = Wire::decode(&mut input, VERSION)?;
        let length = usize::try_from(input.i32()?)?;
        let mut slice = &frame[frame.len() - length..];
        bytes += length as u64;
        let before = next;
        while let Ok(header) = BatchHeader::decode(slice) {
            let Some((_, rest)) = slice.split_at_checked(header.total_len()?) else { break };
            (next, slice) = (header.next_offset(), rest);
        }
        if next == before {
            return Err("a reply without a whole batch".into());
        }
        let offsets = vec![OffsetUpdate { offset: next, stream_id }];
        socket.send(&frame::encode_request(&UpdateOffsetsRequest { offsets }, 0, STREAM + 1, "bare")?)?;
    }
    Ok(Figures { records: next as u64, bytes, ..meter.stop() })
}

struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    fn open(job: &BenchmarkJob) -> Outcome<Self> {
        let address = job.data_server.as_deref().ok_or("--data-server is missing")?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn send(&mut self, frame: &EncodedFrame) -> Outcome<()> {
        for piece in frame.pieces() {
            self.stream.write_all(&piece)?;
        }
        Ok(())
    }

    /// Reads the next frame, without its size.
    fn receive(&mut self) -> Outcome<&[u8]> {
        // The server delays the end of a reply until the bytes before it are acknowledged by TCP, and the kernel resets this
        // option with every request.
        set_tcp_quickack(&self.stream, true)?;
        let mut size = [0; frame::SIZE_LEN];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        self.stream.read_exact(&mut self.buffer[..size])?;
        Ok(&self.buffer[..size])
    }

    /// Counts the errors in the next produce reply.
    fn acknowledgement(&mut self) -> Outcome<u64> {
        let (_, body) = frame::split_reply(Bytes::copy_from_slice(self.receive()?))?;
        let reply = frame::decode_reply::<ProduceRequest>(body, VERSION)?;
        let of_partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(of_partitions.filter(|partition| !partition.error_code.is_success()).count() as u64)
    }
}
