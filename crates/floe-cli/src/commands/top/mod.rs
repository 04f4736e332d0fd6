//! `floe top`: topics with their rates, and groups with their lag, as they are now.

mod rates;
mod screen;
mod view;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args, ValueEnum};
use floe::{Client, TopicPartition, engine::Watermarks, units};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use self::{
    rates::{Rates, Snapshot, TopicCounts},
    screen::{Key, Screen},
    view::View,
};
use super::with_reader;
use crate::{
    exit::{Failure, Outcome},
    format::OutputFormat,
    global::Global,
    interrupt::Interrupt,
    output::print_list,
};

/// Partitions that are looked up at once.
const LOOKUPS: usize = 32;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    interval: Duration,
    /// Order of the topics
    #[arg(long, value_enum, default_value_t, value_name = "COLUMN")]
    sort: SortColumn,
    /// Print one table and end, as also where standard output is no terminal. Its rates are those of one interval
    #[arg(long)]
    once: bool,
}

/// Column by which topics are ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortColumn {
    /// By name
    Name,
    /// Most written first
    #[default]
    Rate,
    /// Most records first
    Records,
    /// Largest first
    Size,
    /// Largest lag first
    Lag,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = units::parse_duration(text).map_err(|error| error.message().to_owned())?;
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    if bounds.contains(&interval) { Ok(interval) } else { Err("use 100ms to 1h".to_owned()) }
}

pub(crate) async fn run(global: &Global, args: TopArgs) -> Outcome {
    let live = !args.once && io::stdout().is_terminal() && global.output == OutputFormat::Text;
    with_reader(global, async |client| {
        if !client.info().capabilities.offsets {
            let error = floe::Error::unsupported(
                "offsets, from which rates and lag are computed",
                client.info().name,
            );
            return Err(Failure::from(error).with_hint("on Walrus, the option journal=PATH assigns offsets"));
        }
        if live { watch(client, &args).await } else { print_once(global, client, &args).await }
    })
    .await
}

/// Prints one table, of two looks.
async fn print_once(global: &Global, client: &Client, args: &TopArgs) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let mut rates = Rates::default();
    rates.add(look(client).await?);
    tokio::select! {
        () = tokio::time::sleep(args.interval) => {}
        () = interrupt.pressed() => return Err(Failure::interrupted()),
    }
    rates.add(look(client).await?);
    print_list(global.output, &view::list(&rates, args.sort))
}

/// Shows the table until q or Ctrl-C.
async fn watch(client: &Client, args: &TopArgs) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let mut rates = Rates::default();
    rates.add(look(client).await?);
    let mut view = View::new(args.sort, floe::url::shown(client.url()));
    // Dropping the screen restores the terminal, also after an error.
    let mut screen = Screen::open()?;
    let mut looking = Box::pin(look_after(client, args.interval));
    loop {
        let (width, height) = Screen::size()?;
        screen.show(&view.frame(&rates, width, height))?;
        tokio::select! {
            key = screen.key() => match key? {
                Key::Quit => return Ok(()),
                Key::Redraw => {}
                Key::Sort(sort) => view.sort_by(sort),
                Key::Up => view.scroll_up(),
                Key::Down => view.scroll_down(),
            },
            () = interrupt.pressed() => return Err(Failure::interrupted()),
            looked = &mut looking => {
                // A cluster that is away for a while is no reason to end.
                view.set_problem(looked.as_ref().err().map(Failure::message));
                looked.into_iter().for_each(|snapshot| rates.add(snapshot));
                looking = Box::pin(look_after(client, args.interval));
            }
        }
    }
}

async fn look_after(client: &Client, interval: Duration) -> Outcome<Snapshot> {
    tokio::time::sleep(interval).await;
    look(client).await
}

/// Looks at all topics and groups.
async fn look(client: &Client) -> Outcome<Snapshot> {
    let at = Instant::now();
    let infos = client.admin().topics().await?;
    let partitions = infos.iter().flat_map(|info| {
        (0..info.partitions).map(|partition| info.name.partition(partition)).collect::<Vec<_>>()
    });
    let found: BTreeMap<TopicPartition, Watermarks> = stream::iter(partitions)
        .map(|of| async move {
            let marks = client.admin().watermarks(of.clone()).await;
            // The topic may be gone, or the partition without a leader.
            marks.ok().map(|marks| (of, marks))
        })
        .buffer_unordered(LOOKUPS)
        .filter_map(async |found| found)
        .collect()
        .await;
    let mut snapshot = Snapshot::new(at);
    for info in &infos {
        snapshot.topics.insert(info.name.to_string(), TopicCounts::of(info.partitions));
    }
    for (at, marks) in &found {
        if let Some(topic) = snapshot.topics.get_mut(at.topic.as_str()) {
            topic.add(marks);
        }
    }
    let stored = if client.info().capabilities.commit_offsets {
        client.admin().committed_offsets(None).await?
    } else {
        Vec::new()
    };
    for stored in stored {
        snapshot.add_position(&stored.group, &stored.at, Some(stored.next), found.get(&stored.at));
    }
    for group in client.groups().list().await.into_iter().flatten() {
        for one in &group.partitions {
            snapshot.add_position(&group.name, &one.at, one.next, found.get(&one.at));
        }
    }
    Ok(snapshot)
}
