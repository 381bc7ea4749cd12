//! The only place where handoverctl calls [`crate::bundle`].

use std::error::Error;
use std::fs::File;
use std::path::Path;

use super::exit::Failure;
use super::render::bundles::Image;
use crate::bundle::{self, Bundle};

/// Builds the bundle of folder `dir` into the file `out`; what is in it.
///
/// # Errors
/// [`Failure::Failed`]: what is wrong with the folder, or why `out` cannot be written.
pub fn build(dir: &Path, out: &Path) -> Result<Image, Failure> {
    match bundle::build(dir, out) {
        Ok(report) => Ok(image(report.bundle)),
        Err(error) => Err(failed(&format!("cannot build {} from {}", out.display(), dir.display()), &error)),
    }
}

/// Reads what is in an image file.
///
/// # Errors
/// [`Failure::Failed`]: it cannot be read or is not a bundle.
pub fn inspect(path: &Path) -> Result<Image, Failure> {
    let what = format!("cannot read {}", path.display());
    let mut file = File::open(path).map_err(|error| failed(&what, &error))?;
    bundle::inspect(&mut file).map(image).map_err(|error| failed(&what, &error))
}

fn image(bundle: Bundle) -> Image {
    Image {
        digest: bundle.digest,
        size: bundle.size,
        unit_files: bundle.units.iter().map(|unit| unit.name.to_string()).collect(),
        files: bundle.contents.files,
        unpacked: bundle.contents.bytes,
        warnings: bundle.warnings.iter().map(ToString::to_string).collect(),
        manifest: bundle.manifest,
    }
}

fn failed(what: &str, error: &dyn Error) -> Failure {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Failure::Failed(text)
}
