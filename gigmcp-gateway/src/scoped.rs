//! A server as a token for some of its tools sees it.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use gigmcp_mcp::{
    BoxFuture, Call, ClientId, Description, Event, Hold, Launch, LaunchError, List, Outcome, RpcError, Upstream,
};
use serde::Deserialize;
use tokio::sync::broadcast;

use crate::{spec::SaidTool, tools::Offered};

/// Gives some tools of what is started by another.
pub(crate) fn limited(launch: Arc<dyn Launch>, tools: &BTreeSet<Box<str>>) -> Arc<dyn Launch> {
    Arc::new(Limited { launch, tools: Arc::new(tools.clone()) })
}

struct Limited {
    launch: Arc<dyn Launch>,
    tools: Arc<BTreeSet<Box<str>>>,
}

impl Limited {
    fn some_of(&self, upstream: Arc<dyn Upstream>) -> Arc<dyn Upstream> {
        let said =
            self.tools.iter().map(|name| SaidTool { name: name.to_string(), definition: None, read_only: false });
        Arc::new(SomeTools { upstream, tools: Arc::clone(&self.tools), offered: Offered::new(said.collect()) })
    }
}

impl Launch for Limited {
    fn launch<'a>(&'a self) -> BoxFuture<'a, Result<Arc<dyn Upstream>, LaunchError>> {
        Box::pin(async { Ok(self.some_of(self.launch.launch().await?)) })
    }

    fn launch_beside<'a>(&'a self) -> BoxFuture<'a, Result<Option<Arc<dyn Upstream>>, LaunchError>> {
        Box::pin(async { Ok(self.launch.launch_beside().await?.map(|upstream| self.some_of(upstream))) })
    }
}

/// Some tools of a running server, and nothing else that it has.
struct SomeTools {
    upstream: Arc<dyn Upstream>,
    tools: Arc<BTreeSet<Box<str>>>,
    offered: Offered,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl SomeTools {
    fn reaches(&self, call: &Call) -> bool {
        let named = call.params.as_deref().and_then(|params| serde_json::from_str::<Named<'_>>(params.get()).ok());
        named.is_some_and(|Named { name }| self.tools.contains(&*name))
    }
}

impl Upstream for SomeTools {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match &*call.method {
                "tools/list" => self.offered.only(self.upstream.call(call).await).0,
                "tools/call" if self.reaches(&call) => self.upstream.call(call).await,
                "tools/call" => Outcome::refused(&RpcError::new(RpcError::INVALID_PARAMS, "unknown tool")),
                "logging/setLevel" => self.upstream.call(call).await,
                method => {
                    Outcome::refused(&RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}")))
                }
            }
        })
    }

    fn is_open(&self) -> bool {
        self.upstream.is_open()
    }

    fn is_occupied(&self) -> bool {
        self.upstream.is_occupied()
    }

    fn hold(&self) -> Option<Hold> {
        self.upstream.hold()
    }

    fn is_retired(&self) -> bool {
        self.upstream.is_retired()
    }

    fn end(&self) {
        self.upstream.end();
    }

    fn instance(&self) -> Option<&str> {
        self.upstream.instance()
    }

    fn revision(&self, list: List) -> u64 {
        self.upstream.revision(list)
    }

    fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
        Box::pin(async {
            let mut description = self.upstream.describe().await;
            let capabilities = &mut description.capabilities;
            capabilities.prompts = false;
            capabilities.resources = false;
            capabilities.subscribe = false;
            capabilities.completions = false;
            description
        })
    }

    fn forget(&self, client: ClientId) {
        self.upstream.forget(client);
    }

    fn events(&self) -> Option<broadcast::Receiver<Event>> {
        self.upstream.events()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::value::RawValue;

    use super::*;

    /// Answers what it is asked, and remembers it.
    #[derive(Default)]
    struct Echo(Mutex<Vec<String>>);

    impl Upstream for Echo {
        fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Outcome> {
            Box::pin(async move {
                let params = call.params.as_deref().map_or("", RawValue::get);
                self.0.lock().expect("not poisoned").push(format!("{} {params}", call.method));
                let text = match &*call.method {
                    "tools/list" => r#"{"tools":[{"name":"get"},{"name":"delete"},{"name":"get","name":"delete"}]}"#,
                    _ => "{}",
                };
                Outcome::Complete(RawValue::from_string(text.to_owned()).expect("JSON"))
            })
        }

        fn describe<'a>(&'a self) -> BoxFuture<'a, Description> {
            let mut description = Description::of_tools();
            description.capabilities = gigmcp_mcp::Capabilities::ALL;
            Box::pin(std::future::ready(description))
        }
    }

    #[tokio::test]
    async fn a_token_for_some_tools_reaches_these_and_nothing_else() {
        let echo = Arc::new(Echo::default());
        let tools: Arc<BTreeSet<Box<str>>> = Arc::new(["get".into()].into());
        let said = vec![SaidTool { name: "get".to_owned(), definition: None, read_only: false }];
        let some = SomeTools { upstream: Arc::clone(&echo) as _, tools, offered: Offered::new(said) };
        let call = async |method: &str, params: &str| {
            let params = RawValue::from_string(params.to_owned()).expect("JSON");
            some.call(Call::new(method, Some(params))).await
        };
        let listed = call("tools/list", "{}").await;
        assert!(
            matches!(&listed, Outcome::Complete(page) if page.get() == r#"{"tools":[{"name":"get"}]}"#),
            "{listed:?}"
        );
        assert!(matches!(call("tools/call", r#"{"name":"get"}"#).await, Outcome::Complete(_)), "twin");
        echo.0.lock().expect("not poisoned").clear();
        for (method, params) in [
            ("tools/call", r#"{"name":"delete"}"#),
            ("tools/call", r#"{"name":"get","name":"delete"}"#),
            ("tools/call", "{}"),
            ("prompts/get", r#"{"name":"get"}"#),
            ("resources/read", r#"{"uri":"file:///secret"}"#),
            ("completion/complete", "{}"),
        ] {
            assert!(matches!(call(method, params).await, Outcome::Error(_)), "{method} {params}");
        }
        assert!(echo.0.lock().expect("not poisoned").is_empty(), "the server was asked nothing");
        let can = some.describe().await.capabilities;
        assert!(can.tools && !can.prompts && !can.resources && !can.subscribe && !can.completions);
    }
}
