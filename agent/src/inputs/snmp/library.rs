//! The profiles that devices are read by: the program's own, and over them the files of a folder.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use profiles::Set;
use settings::Mistake;

/// All profiles; cheap to clone.
#[derive(Clone)]
pub(crate) struct Library {
    /// None for the program's own, which are read when the first device needs them: they are megabytes.
    set: Option<Arc<Set>>,
    /// Tells other profiles from these.
    fingerprint: u64,
}

/// Profiles are long; this tells one set from another.
impl fmt::Debug for Library {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "profiles {:016x}", self.fingerprint)
    }
}

impl Library {
    /// The program's own.
    pub(super) fn embedded() -> Self {
        Self { set: None, fingerprint: 0 }
    }

    /// The program's own, and over them the files `*.yaml` of a folder.
    pub(super) fn with_folder(folder: &Path) -> Result<Self, Mistake> {
        let mut texts: Vec<(String, String)> =
            Set::embedded_files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let mut hasher = DefaultHasher::new();
        for path in files(folder)? {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Mistake::new(format!("cannot read {name}: {error}")))?;
            (&name, &text).hash(&mut hasher);
            texts.push((name, text));
        }
        let set = Set::load(texts).map_err(|error| Mistake::new(error.to_string()))?;
        Ok(Self { set: Some(Arc::new(set)), fingerprint: hasher.finish() })
    }

    pub(super) fn set(&self) -> &Set {
        static EMBEDDED: OnceLock<Set> = OnceLock::new();
        self.set.as_deref().unwrap_or_else(|| EMBEDDED.get_or_init(Set::embedded))
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Mistake> {
    let unreadable = |error| Mistake::new(format!("cannot read the folder {}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
