//! What a person chose, read in this browser: the bundle that would be uploaded, and what is in it.

use crate::api::{Failure, Outcome};
use js_sys::Reflect;
use starling_scripts::{Bundle, EXAMPLE, Entry, Found, JobFile, MAX_BUNDLE_BYTES, Proposal, UploadError, inspect, left_out};
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, FileList};

/// Parts that were left out are told up to this many.
const MAX_LEFT_OUT: usize = 20;

/// An upload that was looked through.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) bundle: Bundle,
    pub(super) left_out: Vec<String>,
    pub(super) found: Found,
    /// The job file's job, or those that were found, the likeliest first.
    pub(super) jobs: Vec<JobFile>,
}

fn refused(error: UploadError) -> Failure {
    Failure::new("upload_refused", format!("This cannot be uploaded: {error}. Nothing was sent."))
}

impl Chosen {
    fn of(bundle: Bundle, left_out: Vec<String>) -> Outcome<Self> {
        let found = inspect(&bundle);
        let jobs = match &found.job_file {
            Some(name) => {
                let read = JobFile::read(name, bundle.get(name).unwrap_or_default());
                vec![read.map_err(|error| Failure::new("job_file", format!("{error}. Mend the file and choose it again.")))?]
            }
            None => match found.propose() {
                Proposal::One(job) => vec![job],
                Proposal::Choose(jobs) => jobs,
                Proposal::Nothing => Vec::new(),
            },
        };
        Ok(Self { bundle, left_out, found, jobs })
    }

    /// The example that `starling job example` writes too.
    pub(super) fn example() -> Outcome<Self> {
        Self::of(example()?, Vec::new())
    }

    /// Reads a file, an archive, several files, or all files of a folder.
    pub(super) async fn read(list: &FileList) -> Outcome<Self> {
        let files: Vec<File> = (0..list.length()).filter_map(|place| list.get(place)).collect();
        if let [only] = files.as_slice()
            && below_folder(only).is_none()
        {
            room(0, only)?;
            return Self::of(Bundle::read(&only.name(), bytes_of(only).await?).map_err(refused)?, Vec::new());
        }
        let (mut bundle, mut without) = (Bundle::default(), Vec::new());
        for file in &files {
            let path = below_folder(file).unwrap_or_else(|| file.name());
            match left_out(&path) {
                Some(part) if without.len() < MAX_LEFT_OUT && !without.iter().any(|known| known == part) => without.push(part.to_owned()),
                Some(_) => {}
                None => {
                    room(bundle.bytes(), file)?;
                    bundle.add(&path, Entry { bytes: bytes_of(file).await?, executable: false }).map_err(refused)?;
                }
            }
        }
        if bundle.is_empty() {
            return Err(refused(UploadError::Empty));
        }
        Self::of(bundle, without)
    }
}

/// The example's files.
pub(super) fn example() -> Outcome<Bundle> {
    let mut bundle = Bundle::default();
    for (path, text) in EXAMPLE {
        bundle.add(path, Entry { bytes: text.as_bytes().to_vec(), executable: false }).map_err(refused)?;
    }
    Ok(bundle)
}

/// Where a file lies below the folder that was chosen; nothing if the file itself was.
fn below_folder(file: &File) -> Option<String> {
    let whole = Reflect::get(file, &"webkitRelativePath".into()).ok()?.as_string()?;
    whole.split_once('/').map(|(_, path)| path.to_owned())
}

/// Fails before a file is read that has no room.
fn room(taken: u64, file: &File) -> Outcome<()> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a file's size is a whole number")]
    let bytes = file.size() as u64;
    if taken.saturating_add(bytes) > MAX_BUNDLE_BYTES {
        return Err(refused(UploadError::TooLarge(format!("with {:?} it has more than {} MiB", file.name(), MAX_BUNDLE_BYTES >> 20))));
    }
    Ok(())
}

async fn bytes_of(file: &File) -> Outcome<Vec<u8>> {
    let unread = |_| Failure::new("file_unread", format!("{} cannot be read: choose it again. Nothing was sent.", file.name()));
    Ok(js_sys::Uint8Array::new(&JsFuture::from(file.array_buffer()).await.map_err(unread)?).to_vec())
}
