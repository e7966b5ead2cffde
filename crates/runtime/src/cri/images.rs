//! Images: found, pulled, removed.

use super::*;
use crate::image::normalize;

/// Reasons of upstream's kubelet that runtimes put before the text of a failed pull.
const PULL_REASONS: [&str; 2] = ["RegistryUnavailable", "SignatureValidationFailed"];

fn spec(image: &str) -> Option<proto::ImageSpec> {
    Some(proto::ImageSpec { image: image.to_owned(), ..proto::ImageSpec::default() })
}

fn describe(image: proto::Image) -> ImageStatus {
    ImageStatus {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
    }
}

impl Inner {
    async fn images<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A> {
        self.call(&format!("runtime.v1.ImageService/{method}"), request, Some(CALL_MAX)).await
    }
}

impl CriRuntime {
    /// An image by id or reference.
    pub(super) async fn image(&self, reference: &str) -> Result<Option<ImageStatus>> {
        let name = if reference.starts_with("sha256:") { reference.to_owned() } else { normalized(reference)? };
        self.image_by_id(&name).await
    }

    pub(super) async fn image_by_id(&self, name: &str) -> Result<Option<ImageStatus>> {
        let request = proto::ImageRequest { image: spec(name) };
        match self.0.images::<proto::ImageStatusResponse>("ImageStatus", &request).await {
            Ok(told) => Ok(told.image.map(describe)),
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn images(&self) -> Result<Vec<ImageStatus>> {
        let told: proto::ListImagesResponse = self.0.images("ListImages", &proto::ListImagesRequest {}).await?;
        // What the runtime needs for itself (the sandboxes' image) is nobody else's to count or to remove. Older ones do not
        // mark it.
        let own = self.0.about().sandbox_image.clone();
        let is_own = |image: &proto::Image| image.pinned || image.repo_tags.iter().any(|tag| Some(tag) == own.as_ref());
        Ok(told.images.into_iter().filter(|image| !is_own(image)).map(describe).collect())
    }

    pub(super) async fn pull(&self, reference: &str, credentials: Vec<Credentials>) -> Result<Pulled> {
        let name = normalize(reference)?;
        if name.starts_with(crate::HELLO_PREFIX) {
            let message = format!("{name}: images of skiff's own are made by its built-in runtime only");
            return Err(RuntimeError::Pull { reason: "ErrImagePull", message });
        }
        let auths = credentials.into_iter().map(|known| {
            let Credentials { username, password, identity_token } = known;
            Some(proto::AuthConfig { username, password, identity_token })
        });
        let mut last = None;
        for (index, auth) in auths.chain([None]).enumerate() {
            let credentials = auth.is_some().then_some(index);
            let request = proto::PullImageRequest { image: spec(&name), auth };
            let pulled = self.0.call::<proto::PullImageResponse>("runtime.v1.ImageService/PullImage", &request, None);
            match pulled.await {
                Ok(pulled) => {
                    let image = self.image_by_id(&pulled.image_ref).await?;
                    let image = image.ok_or_else(|| RuntimeError::NotFound(format!("image {name} after its pull")))?;
                    return Ok(Pulled { image, credentials });
                }
                Err(error) => last = last.or(Some(error)),
            }
        }
        Err(last.map_or_else(|| RuntimeError::Failed(String::new()), pull_error))
    }

    pub(super) async fn forget_image(&self, reference: &str) -> Result<()> {
        // An image is removed by its id: by a name, only the name would go.
        let Some(image) = self.image(reference).await? else { return Ok(()) };
        gone_is_fine(self.0.images("RemoveImage", &proto::ImageRequest { image: spec(&image.id) }).await)
    }

    pub(super) async fn filesystem(&self) -> Result<ImageFilesystem> {
        let told: proto::ImageFsInfoResponse = self.0.images("ImageFsInfo", &proto::ImageFsInfoRequest {}).await?;
        let first = told.image_filesystems.into_iter().next();
        let first = first.ok_or_else(|| RuntimeError::NotFound("the images' file system".to_owned()))?;
        let value = |value: Option<proto::UInt64Value>| value.map_or(0, |v| v.value);
        Ok(ImageFilesystem {
            mountpoint: first.fs_id.map(|id| id.mountpoint).unwrap_or_default().into(),
            used_bytes: value(first.used_bytes),
            inodes_used: value(first.inodes_used),
        })
    }
}

fn normalized(reference: &str) -> Result<String> {
    normalize(reference).map_err(|error| RuntimeError::Invalid(error.to_string()))
}

fn pull_error(error: RuntimeError) -> RuntimeError {
    let message = error.to_string();
    let reason = PULL_REASONS.iter().find(|reason| message.starts_with(**reason)).unwrap_or(&"ErrImagePull");
    RuntimeError::Pull { reason, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_pulls_have_a_reason() {
        for (text, wanted) in [("RegistryUnavailable: x", "RegistryUnavailable"), ("no such host", "ErrImagePull")] {
            match pull_error(RuntimeError::Failed(text.to_owned())) {
                RuntimeError::Pull { reason, message } => assert_eq!((reason, message.as_str()), (wanted, text)),
                other => panic!("{other}"),
            }
        }
    }
}
