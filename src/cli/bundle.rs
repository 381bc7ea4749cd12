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
    let report = bundle::build(dir, out)
        .map_err(|error| failed(&format!("cannot build a bundle of {}", dir.display()), &error))?;
    Ok(image(report.bundle))
}

/// Reads what is in an image file.
///
/// # Errors
/// [`Failure::Failed`]: it cannot be read or is not a bundle.
pub fn inspect(path: &Path) -> Result<Image, Failure> {
    let what = format!("cannot read the bundle {}", path.display());
    let mut file = File::open(path).map_err(|error| failed(&what, &error))?;
    let bundle = bundle::inspect(&mut file).map_err(|error| failed(&what, &error))?;
    Ok(image(bundle))
}

fn image(bundle: Bundle) -> Image {
    Image {
        digest: bundle.digest,
        size: bundle.size,
        manifest: bundle.manifest,
        unit_files: bundle.units.iter().map(|unit| unit.name.to_string()).collect(),
        warnings: bundle.warnings.iter().map(ToString::to_string).collect(),
    }
}

/// The error with all its causes: each tells only its own part.
fn failed(what: &str, error: &dyn Error) -> Failure {
    let mut message = what.to_owned();
    let mut cause = Some(error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Failure::Failed(message)
}
