//! OTLP receiver for tests.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    trace::v1::Span,
};
use prost::Message as _;

/// HTTP server that stores OTLP requests until the test ends.
pub(crate) struct Collector {
    address: String,
    received: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    problems: Vec<String>,
    /// Request heads in lower case.
    heads: Vec<String>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Received>> = Arc::default();
        let sink = Arc::clone(&received);
        // The thread ends with the test process.
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let sink = Arc::clone(&sink);
                thread::spawn(move || serve(socket, &sink));
            }
        });
        Self { address, received }
    }

    /// Endpoint URL for commands.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.received.lock().unwrap().heads.clone()
    }

    /// Spans of all requests so far.
    #[track_caller]
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        assert!(received.problems.is_empty(), "{:?}", received.problems);
        let resources = received.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Adds up the latest points of a sum that have this attribute.
    #[track_caller]
    pub(crate) fn sum(&self, name: &str, (key, value): (&str, &str)) -> f64 {
        let received = self.received.lock().unwrap();
        let with_it = received.metrics.iter().rfind(|request| names(request).any(|found| found == name));
        let last = with_it.unwrap_or_else(|| panic!("{name} was not sent"));
        let scopes = last.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let metrics = scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name);
        let points = metrics.flat_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.clone(),
            other => panic!("{name} is not a sum: {other:?}"),
        });
        let points = points.filter(|point| attribute(&point.attributes, key).as_deref() == Some(value));
        points
            .map(|point| match point.value {
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                Some(number_data_point::Value::AsDouble(value)) => value,
                None => panic!("a point without a value"),
            })
            .sum()
    }

    /// Returns a resource attribute, which must be the same in all requests.
    #[track_caller]
    pub(crate) fn resource(&self, key: &str) -> String {
        let received = self.received.lock().unwrap();
        let traces = received.traces.iter().flat_map(|request| &request.resource_spans);
        let metrics = received.metrics.iter().flat_map(|request| &request.resource_metrics);
        let mut found: Vec<_> = traces
            .filter_map(|one| one.resource.clone())
            .chain(metrics.filter_map(|one| one.resource.clone()))
            .map(|resource| attribute(&resource.attributes, key).unwrap_or_default())
            .collect();
        found.dedup();
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        found.remove(0)
    }
}

/// Returns the metric names of a request.
fn names(request: &ExportMetricsServiceRequest) -> impl Iterator<Item = &str> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(|metric| metric.name.as_str())
}

/// Returns an attribute of any type as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// Serves the requests of one connection.
fn serve(socket: TcpStream, received: &Mutex<Received>) {
    let mut reader = BufReader::new(socket);
    while let Some((path, head, body)) = request(&mut reader) {
        let mut received = received.lock().unwrap();
        received.heads.push(head.clone());
        if !head.contains("content-type: application/x-protobuf") {
            received.problems.push(format!("{path}: {head}"));
        }
        match path.as_str() {
            "/v1/traces" => match ExportTraceServiceRequest::decode(&body[..]) {
                Ok(request) => received.traces.push(request),
                Err(error) => received.problems.push(error.to_string()),
            },
            "/v1/metrics" => match ExportMetricsServiceRequest::decode(&body[..]) {
                Ok(request) => received.metrics.push(request),
                Err(error) => received.problems.push(error.to_string()),
            },
            other => received.problems.push(format!("a request to {other}")),
        }
        drop(received);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// Reads path, head in lower case, and body of the next request; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, head, body))
}
