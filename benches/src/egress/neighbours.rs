//! What one sandbox at its limits does to another: the same request, while the neighbour does nothing and while it sends as
//! much as it can.

use std::path::Path;
use std::time::{Duration, Instant};

use super::certificates::{self, CA, connector};
use super::client::{Subject, Way};
use super::origin::SMALL;
use super::world::{HOST, NEIGHBOUR_CA, OUR_CA, SECRET};
use super::{BOUNDED_PROXY, FLOOD, ORIGIN};
use crate::Failure;
use crate::figures::{Figures, Table};
use crate::process::Process;

pub(crate) async fn run(directory: &Path) -> Result<(), Failure> {
    certificates::write(directory)?;
    let path = directory.to_str().ok_or("the path is not text")?;
    let (origin, origin_port) = Process::part(ORIGIN, &[path])?;
    let (proxy, said) = Process::part(BOUNDED_PROXY, &[path, &origin_port])?;
    let [placeholder, port, neighbour] = said.split(' ').collect::<Vec<_>>()[..] else {
        return Err("the proxy did not say where it is".into());
    };
    let subject = |name, way, port: &str, key: &str, ca: &str, process: &Process| {
        Ok::<_, Failure>(Subject {
            name,
            address: Subject::at(port.parse()?),
            way,
            key: key.to_owned(),
            origin_port: origin_port.parse()?,
            connector: connector(&[&directory.join(ca)], &[])?,
            process: process.id(),
        })
    };
    let direct = subject("direct", Way::Straight, &origin_port, SECRET, CA, &origin)?;
    let ours = subject("ours", Way::Proxy, port, placeholder, OUR_CA, &proxy)?;
    let mut table = Table::new(
        "the same request while a neighbour floods (µs); 64 connections, each with the next request at once",
        &["p50", "p99", "p50, flooded", "p99, flooded"],
    );
    let straight = ["straight", path, &origin_port, &origin_port, SECRET, CA];
    let through = ["proxy", path, neighbour, &origin_port, placeholder, NEIGHBOUR_CA];
    for (subject, flood) in [(&direct, straight), (&ours, through)] {
        let alone = measure(subject).await?;
        let (flood, _) = Process::part(FLOOD, &flood)?;
        let beside = measure(subject).await?;
        drop(flood);
        let micros = |figures: &Figures, percent| figures.percentile(percent).as_secs_f64() * 1e6;
        let row = [micros(&alone, 50), micros(&alone, 99), micros(&beside, 50), micros(&beside, 99)];
        table.row(subject.name, &row);
    }
    table.print("aim: what the flood adds is less than straight to the origin, where nothing bounds it");
    Ok(())
}

async fn measure(subject: &Subject) -> Result<Figures, Failure> {
    let mut client = subject.connect(HOST).await?;
    let mut figures = Figures::default();
    for round in 0..ROUNDS {
        let clock = Instant::now();
        client.get(SMALL).await?;
        if round >= WARM {
            figures.add(clock.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(figures)
}

/// Sends on many connections without rest, and comes again when it is refused.
pub(crate) async fn flood(arguments: &[String]) -> Result<(), Failure> {
    let [way, directory, port, origin_port, key, ca] = arguments else { return Err("a flood takes six words".into()) };
    let subject = Subject {
        name: "flood",
        address: Subject::at(port.parse()?),
        way: if way == "proxy" { Way::Proxy } else { Way::Straight },
        key: key.clone(),
        origin_port: origin_port.parse()?,
        connector: connector(&[&Path::new(directory).join(ca)], &[])?,
        process: std::process::id(),
    };
    for _ in 0..CONNECTIONS {
        let subject = subject.clone();
        tokio::spawn(async move {
            loop {
                if let Ok(mut client) = subject.connect(HOST).await {
                    while client.get(SMALL).await.is_ok() {}
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    crate::process::serve_until_orphaned("flooding").await
}

const ROUNDS: usize = 2000;
const WARM: usize = 100;
const CONNECTIONS: usize = 64;
