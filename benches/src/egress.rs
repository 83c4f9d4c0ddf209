//! Ways to an https origin: ours, straight, and those of others. Origin, proxies and load generator are processes of their
//! own on this machine, so that each costs what it costs.

mod bulk;
mod certificates;
mod client;
mod connections;
mod events;
mod mint;
mod neighbours;
mod origin;
mod peers;
mod requests;
mod resting;
mod websocket;
mod world;

use std::path::Path;

use self::certificates::{CA, connector};
use self::client::{Subject, Way};
use self::peers::Place;
use self::world::{Bounds, OUR_CA, SECRET};
use crate::Failure;
use crate::process::Process;

/// The parts that run as processes of their own.
pub(crate) const ORIGIN: &str = "part-origin";
pub(crate) const PROXY: &str = "part-proxy";
pub(crate) const BOUNDED_PROXY: &str = "part-bounded-proxy";
pub(crate) const FLOOD: &str = "part-flood";

pub(crate) async fn part(name: &str, arguments: &[String]) -> Result<(), Failure> {
    match (name, arguments) {
        (ORIGIN, [directory]) => origin::serve(Path::new(directory)).await,
        (PROXY, [directory, port]) => world::serve(Path::new(directory), port.parse()?, Bounds::Wide).await,
        (BOUNDED_PROXY, [directory, port]) => world::serve(Path::new(directory), port.parse()?, Bounds::Default).await,
        (FLOOD, arguments) => neighbours::flood(arguments).await,
        _ => Err("no such part".into()),
    }
}

/// Measures everything, or what is named.
pub(crate) async fn run(chosen: Option<&str>) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    if chosen == Some("neighbours") {
        return neighbours::run(directory.path()).await;
    }
    let (processes, subjects) = start(directory.path())?;
    println!(
        "egress: origin, each proxy and this load generator are processes of their own and share {} cores; every way leads\n\
         over TLS to the same origin, which demands the credential; direct sends it itself, the others put it in\n",
        std::thread::available_parallelism()?
    );
    let wanted = |name: &str| chosen.is_none_or(|chosen| chosen == name);
    if wanted("requests") {
        requests::run(&subjects).await?;
    }
    if wanted("connections") {
        connections::run(&subjects).await?;
    }
    if wanted("mint") {
        mint::run(&subjects).await?;
    }
    if wanted("bulk") {
        bulk::run(&subjects).await?;
    }
    if wanted("events") {
        events::run(&subjects).await?;
    }
    if wanted("websocket") {
        websocket::run(&subjects).await?;
    }
    if wanted("resting") {
        resting::run(&subjects).await?;
    }
    drop(processes);
    if chosen.is_none() { neighbours::run(tempfile::tempdir()?.path()).await } else { Ok(()) }
}

/// Starts all processes. The first subject is the straight way.
fn start(directory: &Path) -> Result<(Vec<Process>, Vec<Subject>), Failure> {
    certificates::write(directory)?;
    let path = directory.to_str().ok_or("the path is not text")?;
    let (origin, port) = Process::part(ORIGIN, &[path])?;
    let place = Place { directory, origin_port: port.parse()? };
    let (proxy, said) = Process::part(PROXY, &[path, &port])?;
    let [placeholder, proxy_port, _] = said.split(' ').collect::<Vec<_>>()[..] else {
        return Err("the proxy did not say where it is".into());
    };
    let theirs = connector(&[&directory.join(CA)], &[])?;
    let subject = |name, process: &Process, port, way| Subject {
        name,
        address: Subject::at(port),
        way,
        key: SECRET.to_owned(),
        origin_port: place.origin_port,
        connector: theirs.clone(),
        process: process.id(),
    };
    let mut ours = subject("ours", &proxy, proxy_port.parse()?, Way::Proxy);
    ours.key = placeholder.to_owned();
    ours.connector = connector(&[&directory.join(OUR_CA)], &[])?;
    let (nginx, nginx_port) = place.nginx()?;
    let (squid, squid_port) = place.squid()?;
    let (mitmproxy, mitmproxy_port) = place.mitmproxy()?;
    let subjects = vec![
        subject("direct", &origin, place.origin_port, Way::Straight),
        ours,
        subject("nginx", &nginx, nginx_port, Way::Straight),
        subject("squid", &squid, squid_port, Way::Proxy),
        subject("mitmproxy", &mitmproxy, mitmproxy_port, Way::Proxy),
    ];
    Ok((vec![origin, proxy, nginx, squid, mitmproxy], subjects))
}
