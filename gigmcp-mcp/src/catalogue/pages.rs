//! All pages of one list.

use std::{collections::HashSet, time::Duration};

use serde_json::value::RawValue;
use tokio::time::timeout;

use super::{CatalogueError, CatalogueLimits};
use crate::{
    message::{RpcError, error_code},
    object::{self, Members, NotItems, quoted, string},
    upstream::{Call, Outcome, Upstream},
};

/// One list of a server.
pub(super) struct Pages<'a> {
    /// The member of the result that holds it.
    pub(super) list: &'static str,
    pub(super) upstream: &'a dyn Upstream,
    pub(super) limits: &'a CatalogueLimits,
}

impl Pages<'_> {
    /// Every item. A server that does not know the list has none.
    pub(super) async fn within(&self, limit: Duration) -> Result<Vec<Box<RawValue>>, CatalogueError> {
        let late = CatalogueError::Timeout { list: self.list, after: limit };
        timeout(limit, self.read()).await.unwrap_or(Err(late))
    }

    async fn read(&self) -> Result<Vec<Box<RawValue>>, CatalogueError> {
        let too_many = |what| CatalogueError::TooLarge { list: self.list, what };
        let mut items: Vec<Box<RawValue>> = Vec::new();
        let mut seen_cursors: HashSet<String> = HashSet::new();
        let mut bytes = 0;
        let mut params = None;
        for _ in 0..self.limits.max_pages {
            let Some(result) = self.page(params).await? else { return Ok(items) };
            bytes += result.get().len();
            if bytes > self.limits.max_bytes {
                return Err(too_many("bytes"));
            }
            let next = self.take(&result, &mut items)?;
            match next {
                Some(cursor) if seen_cursors.insert(cursor.clone()) => {
                    let text = format!(r#"{{"cursor":{}}}"#, quoted(&cursor));
                    params = Some(RawValue::from_string(text).expect("a quoted string is JSON"));
                }
                // A cursor that comes back would come back for ever; what was read is the list.
                Some(_) | None => return Ok(items),
            }
        }
        Err(too_many("pages"))
    }

    async fn page(&self, params: Option<Box<RawValue>>) -> Result<Option<Box<RawValue>>, CatalogueError> {
        match self.upstream.call(Call::new(self.method(), params)).await {
            Outcome::Complete(result) => Ok(Some(result)),
            Outcome::Error(error) if error_code(&error) == Some(RpcError::METHOD_NOT_FOUND) => Ok(None),
            Outcome::Error(error) => Err(CatalogueError::Refused { list: self.list, error }),
            Outcome::Failed(error) => Err(CatalogueError::Call(error)),
            Outcome::InputRequired(_) | Outcome::Task(_) => Err(CatalogueError::Malformed(self.list)),
        }
    }

    /// Takes the items of a page and gives the cursor of the next one.
    fn take(&self, page: &RawValue, items: &mut Vec<Box<RawValue>>) -> Result<Option<String>, CatalogueError> {
        let malformed = || CatalogueError::Malformed(self.list);
        let members = Members::of(page).map_err(|_| malformed())?;
        let listed = members.value(self.list).ok_or_else(malformed)?;
        let room = self.limits.max_items.saturating_sub(items.len());
        let listed = object::items(listed, room).map_err(|error| match error {
            NotItems::NoList => malformed(),
            NotItems::TooMany => CatalogueError::TooLarge { list: self.list, what: "items" },
        })?;
        items.extend(listed.into_iter().map(ToOwned::to_owned));
        match members.value("nextCursor") {
            None => Ok(None),
            Some(cursor) if cursor.get() == "null" => Ok(None),
            Some(cursor) => Ok(Some(string(cursor).ok_or_else(malformed)?.into_owned())),
        }
    }

    fn method(&self) -> &'static str {
        match self.list {
            "tools" => "tools/list",
            "prompts" => "prompts/list",
            "resources" => "resources/list",
            super::skills::LIST => "skills/list",
            _ => "resources/templates/list",
        }
    }
}
