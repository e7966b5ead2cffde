//! Deletecollection: deletes what a list selects, one by one.

use client::{DeleteOptions, List, Reply};
use machinery::ApiError;
use machinery::object::ObjectExt;

use super::Call;
use super::delete::{self, Outcome};
use super::read;
use crate::request::{Attributes, Served};

/// Deletes what the options select. What others delete meanwhile is no error.
pub(crate) async fn delete_collection(call: &mut Call<'_>, options: &DeleteOptions) -> Result<Served, ApiError> {
    let list = read::list(call).await?;
    let mut items = Vec::with_capacity(list.items.len());
    for entry in &list.items {
        let tree = entry.tree();
        let attributes = Attributes { namespace: tree.namespace().to_owned(), ..call.attributes.clone() };
        let one = Call { attributes: &attributes, warnings: Vec::new(), ..*call };
        let mut warnings = Vec::new();
        let outcome = delete::remove_warning(&one, tree.name(), options, &mut warnings).await;
        call.warnings.extend(warnings);
        match outcome {
            Ok(Outcome::Gone(entry) | Outcome::Leaving(entry)) => items.push(entry),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let reply = Reply::List(List { items, ..list });
    Ok(Served { reply, code: 200, warnings: std::mem::take(&mut call.warnings) })
}
