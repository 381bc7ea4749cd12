//! The only place where handoverctl calls [`crate::bundle`].

use std::path::Path;

use super::exit::Failure;
use super::render::bundles::Image;

/// Builds the bundle of folder `dir` into the file `out`; what is in it.
///
/// # Errors
/// [`Failure::Failed`]: what is wrong with the folder, or why `out` cannot be written.
pub fn build(dir: &Path, out: &Path) -> Result<Image, Failure> {
    Err(unavailable(&format!(
        "build {} from {}",
        out.display(),
        dir.display()
    )))
}

/// Reads what is in an image file.
///
/// # Errors
/// [`Failure::Failed`]: it cannot be read or is not a bundle.
pub fn inspect(path: &Path) -> Result<Image, Failure> {
    Err(unavailable(&format!("read {}", path.display())))
}

fn unavailable(what: &str) -> Failure {
    Failure::Failed(format!(
        "cannot {what}: this handoverctl was built without support for bundle files"
    ))
}
