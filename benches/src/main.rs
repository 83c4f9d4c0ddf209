//! `./dev bench`: each path beside its bare alternative, in one run, taking turns so that both see the same machine.
#![forbid(unsafe_code)]

mod calls;
mod egress;
mod extraction;
mod figures;
mod idle;
mod install;
mod load;
mod process;
mod registry;
mod spawn;
mod tools;
mod vault;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((name @ (egress::ORIGIN | egress::PROXY | egress::BOUNDED_PROXY | egress::FLOOD), rest)) =
        arguments.split_first().map(|(name, rest)| (name.as_str(), rest))
    {
        return egress::part(name, rest).await;
    }
    if arguments.first().is_some_and(|name| name == calls::ENDPOINT) {
        return calls::part().await;
    }
    let chosen = arguments.first();
    // It takes minutes, and so is no part of all.
    if chosen.is_some_and(|chosen| chosen == "load") {
        return load::run(arguments.get(1).map(String::as_str));
    }
    let wanted = |name: &str| chosen.is_none_or(|chosen| chosen == name);
    if wanted("spawn") {
        spawn::run().await?;
    }
    if wanted("idle") {
        idle::run().await?;
    }
    if wanted("calls") {
        calls::run(arguments.get(1).map(String::as_str)).await?;
    }
    if wanted("tools") {
        tools::run().await?;
    }
    if wanted("vault") {
        vault::run()?;
    }
    if wanted("registry") {
        registry::run()?;
    }
    if wanted("extraction") {
        extraction::run()?;
    }
    if wanted("install") {
        install::run().await?;
    }
    if wanted("egress") {
        egress::run(arguments.get(1).map(String::as_str)).await?;
    }
    Ok(())
}
