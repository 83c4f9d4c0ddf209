//! `./dev bench`: each path beside its bare alternative, in one run, taking turns so that both see the same machine.
#![forbid(unsafe_code)]

mod calls;
mod egress;
mod figures;
mod idle;
mod spawn;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let chosen = std::env::args().nth(1);
    let wanted = |name: &str| chosen.as_deref().is_none_or(|chosen| chosen == name);
    if wanted("spawn") {
        spawn::run().await?;
    }
    if wanted("idle") {
        idle::run().await?;
    }
    if wanted("calls") {
        calls::run().await?;
    }
    if wanted("egress") {
        egress::run().await?;
    }
    Ok(())
}
